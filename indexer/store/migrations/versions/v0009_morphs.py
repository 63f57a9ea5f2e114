"""A gallery may keep what morphs of two documents score: thresholds against them follow from it."""

import sqlalchemy as sa
from alembic import op

from indexer.store.migrations.covering import add_empty_tally
from indexer.store.schema import WHOLE

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Add the empty table, and the running sum over it."""
    op.create_table(
        "morph",
        sa.Column("id", WHOLE, nullable=False, autoincrement=False),
        sa.Column("model_digest", sa.String(64), nullable=False),
        sa.Column("worst", sa.LargeBinary, nullable=False),
        sa.Column("genuine", sa.LargeBinary, nullable=False),
        sa.Column("people", WHOLE, nullable=False),
        sa.Column("data", sa.Text, nullable=False),
        sa.Column("date", sa.Text, nullable=False),
        sa.Column("checksum", WHOLE, nullable=False, server_default=sa.text("0")),
        sa.PrimaryKeyConstraint("id", name="pk_morph"),
        sa.CheckConstraint("length(worst) % 4 = 0 AND length(genuine) % 4 = 0", name=op.f("ck_morph_scores")),
    )
    add_empty_tally("morph")


def downgrade() -> None:
    """Older programs cannot read what newer ones wrote."""
    raise NotImplementedError("restore a backup that was made before the upgrade")
