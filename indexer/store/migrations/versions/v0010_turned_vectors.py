"""A gallery may say by which key its vectors are turned."""

import sqlalchemy as sa
from alembic import op

from indexer.store.migrations.covering import GALLERY_AND_MODEL, cover, refuse_damage

revision = "0010"
down_revision = "0009"

_GALLERY_BEFORE = (
    "g.uuid, g.created_at, g.fusion, g.revision, g.model_id, g.model_since, g.erasure_key, g.erase_pending,"
    " g.decided_on"
)
_MODEL = "m.name, m.digest, m.dimension"


def upgrade() -> None:
    """Verify the gallery's row, add both columns, and cover them by its checksum."""
    refuse_damage("gallery", f"{_GALLERY_BEFORE}, {_MODEL}", GALLERY_AND_MODEL)
    op.add_column("gallery", sa.Column("turn_key_id", sa.String(16)))
    op.add_column("gallery", sa.Column("turn_salt", sa.LargeBinary))
    cover("gallery", f"{_GALLERY_BEFORE}, NULL, NULL, {_MODEL}", GALLERY_AND_MODEL)


def downgrade() -> None:
    """Older programs cannot read what newer ones wrote."""
    raise NotImplementedError("restore a backup that was made before the upgrade")
