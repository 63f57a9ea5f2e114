"""Rejected photos are remembered, so that the next run need not look at them again."""

import sqlalchemy as sa
from alembic import op

from indexer.store.migrations.covering import add_empty_tally
from indexer.store.schema import WHOLE

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the empty table, and the running sum over it."""
    op.create_table(
        "rejection",
        sa.Column("source_digest", sa.LargeBinary, nullable=False),
        sa.Column("policy", sa.String(64), nullable=False),
        sa.Column("reasons", sa.Text, nullable=False),
        sa.Column("at", sa.String(20), nullable=False),
        sa.Column("checksum", WHOLE, nullable=False, server_default=sa.text("0")),
        sa.PrimaryKeyConstraint("source_digest", name="pk_rejection"),
        sa.CheckConstraint("length(source_digest) = 32", name=op.f("ck_rejection_source_digest")),
    )
    add_empty_tally("rejection")


def downgrade() -> None:
    """Older programs cannot read what newer ones wrote."""
    raise NotImplementedError("restore a backup that was made before the upgrade")
