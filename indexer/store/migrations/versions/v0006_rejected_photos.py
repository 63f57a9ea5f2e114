"""Rejected photos are remembered, so that the next run need not look at them again."""

import sqlalchemy as sa
from alembic import op

from indexer.store.checksum import SQL_NAME

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
        sa.Column("checksum", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.PrimaryKeyConstraint("source_digest", name="pk_rejection"),
        sa.CheckConstraint("length(source_digest) = 32", name=op.f("ck_rejection_source_digest")),
    )
    op.execute(f"INSERT INTO tally VALUES ('rejection', 0, 0, 0, {SQL_NAME}('rejection', 0, 0, 0))")


def downgrade() -> None:
    """Older programs cannot read what newer ones wrote."""
    raise NotImplementedError("restore a backup that was made before the upgrade")
