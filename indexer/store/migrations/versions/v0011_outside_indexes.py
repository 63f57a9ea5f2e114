"""A gallery may note in which engines elsewhere its vectors lie too."""

import sqlalchemy as sa
from alembic import op

from indexer.store.checksum import SQL_NAME

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Add the empty table, and the running sum over it."""
    op.create_table(
        "outside",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("checksum", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.PrimaryKeyConstraint("id", name="pk_outside"),
    )
    op.execute(f"INSERT INTO tally VALUES ('outside', 0, 0, 0, {SQL_NAME}('outside', 0, 0, 0))")


def downgrade() -> None:
    """Older programs cannot read what newer ones wrote."""
    raise NotImplementedError("restore a backup that was made before the upgrade")
