"""Checksums of rows, undo records of the trail, and the log of changes that an index follows without a full scan."""

import sqlalchemy as sa
from alembic import op

from indexer.store.migrations.covering import GALLERY_AND_MODEL, cover
from indexer.store.schema import WHOLE

revision = "0002"
down_revision = "0001"

# What a row's checksum covered when this migration was written; later migrations may cover more.
_COVERED = {
    "identity": "id, name, external_id, created_at",
    "template": "id, source, source_digest, box_x, box_y, box_width, box_height, detection_score, quality, precision,"
    " created_at",
    "embedding": "template_id, model_id, vector",
    "calibration": "target, scores, trials, gallery_size, templates_per_identity, fusion, model_digest, precision,"
    " data, date, revision",
    "audit": "at, action, identity_id, digest, details",
}
_GALLERY = "g.uuid, g.created_at, g.fusion, g.revision, g.audit_salt, g.erase_pending, m.name, m.digest, m.dimension"


def upgrade() -> None:
    """Add the columns and tables; every row that is there gets its checksum."""
    for table, columns in _COVERED.items():
        op.add_column(table, _checksum())
        cover(table, columns, key=columns.partition(",")[0])
    op.add_column("gallery", _checksum())
    cover("gallery", _GALLERY, GALLERY_AND_MODEL)
    op.create_table(
        "undo",
        sa.Column("audit_id", WHOLE, nullable=False),
        sa.Column("payload", sa.Text, nullable=False),
        _checksum(),
        sa.PrimaryKeyConstraint("audit_id", name="pk_undo"),
        sa.ForeignKeyConstraint(["audit_id"], ["audit.id"], name="fk_undo_audit_id_audit", ondelete="CASCADE"),
    )
    op.create_table(
        "change",
        sa.Column("revision", WHOLE, nullable=False),
        sa.Column("template_id", WHOLE, nullable=False),
        sa.PrimaryKeyConstraint("revision", "template_id", name="pk_change"),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """Older programs cannot read what newer ones wrote."""
    raise NotImplementedError("restore a backup that was made before the upgrade")


def _checksum() -> sa.Column[int]:
    return sa.Column("checksum", WHOLE, nullable=False, server_default=sa.text("0"))
