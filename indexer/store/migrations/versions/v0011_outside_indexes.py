"""A gallery may note in which engines elsewhere its vectors lie too."""

import sqlalchemy as sa
from alembic import op

from indexer.store.migrations.covering import add_empty_tally
from indexer.store.schema import WHOLE

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Add the empty table, and the running sum over it."""
    op.create_table(
        "outside",
        sa.Column("id", WHOLE, nullable=False, autoincrement=False),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("checksum", WHOLE, nullable=False, server_default=sa.text("0")),
        sa.PrimaryKeyConstraint("id", name="pk_outside"),
    )
    add_empty_tally("outside")


def downgrade() -> None:
    """Older programs cannot read what newer ones wrote."""
    raise NotImplementedError("restore a backup that was made before the upgrade")
