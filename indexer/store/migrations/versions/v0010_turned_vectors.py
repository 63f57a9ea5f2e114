"""A gallery may say by which key its vectors are turned."""

import sqlalchemy as sa
from alembic import op

from indexer.errors import StoreDamaged
from indexer.store.checksum import SQL_NAME

revision = "0010"
down_revision = "0009"

_GALLERY_BEFORE = (
    "g.uuid, g.created_at, g.fusion, g.revision, g.model_id, g.model_since, g.erasure_key, g.erase_pending,"
    " g.decided_on"
)
_MODEL = "m.name, m.digest, m.dimension"
_FROM = "FROM gallery g JOIN model m ON m.id = g.model_id"


def upgrade() -> None:
    """Verify the gallery's row, add both columns, and cover them by its checksum."""
    damaged = f"SELECT COUNT(*) {_FROM} WHERE g.checksum <> {SQL_NAME}({_GALLERY_BEFORE}, {_MODEL})"
    if op.get_bind().exec_driver_sql(damaged).scalar():
        raise StoreDamaged("the database's row on its gallery and model is damaged; restore it from a backup")
    op.add_column("gallery", sa.Column("turn_key_id", sa.String(16)))
    op.add_column("gallery", sa.Column("turn_salt", sa.LargeBinary))
    op.execute(f"UPDATE gallery SET checksum = (SELECT {SQL_NAME}({_GALLERY_BEFORE}, NULL, NULL, {_MODEL}) {_FROM})")


def downgrade() -> None:
    """Older programs cannot read what newer ones wrote."""
    raise NotImplementedError("restore a backup that was made before the upgrade")
