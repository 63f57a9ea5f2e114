"""A gallery may keep pictures of the faces that it was enrolled with."""

import sqlalchemy as sa
from alembic import op

from indexer.store.migrations.covering import add_empty_tally
from indexer.store.schema import WHOLE

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add the empty table, and the running sum over it."""
    op.create_table(
        "crop",
        sa.Column("template_id", WHOLE, nullable=False, autoincrement=False),
        sa.Column("jpeg", sa.LargeBinary, nullable=False),
        sa.Column("checksum", WHOLE, nullable=False, server_default=sa.text("0")),
        sa.PrimaryKeyConstraint("template_id", name="pk_crop"),
        sa.ForeignKeyConstraint(
            ["template_id"], ["template.id"], name="fk_crop_template_id_template", ondelete="CASCADE"
        ),
        sa.CheckConstraint("length(jpeg) > 0", name=op.f("ck_crop_jpeg")),
    )
    add_empty_tally("crop")


def downgrade() -> None:
    """Older programs cannot read what newer ones wrote."""
    raise NotImplementedError("restore a backup that was made before the upgrade")
