"""Checksums cover whole rows, tallies know which rows must be there, and the trail keeps nothing of a name."""

import sqlalchemy as sa
from alembic import op

from indexer.store.migrations.covering import GALLERY_AND_MODEL, cover, free_key, refuse_damage
from indexer.store.schema import WHOLE

revision = "0004"
down_revision = "0003"

# What the rows' checksums covered until now, and what they cover from now on. (An embedding's covers all of it since
# 0002, an undo record's too.)
_BEFORE = {
    "identity": "id, name, external_id, created_at",
    "template": "id, source, source_digest, box_x, box_y, box_width, box_height, detection_score, quality, precision,"
    " created_at",
    "calibration": "target, scores, trials, gallery_size, templates_per_identity, fusion, model_digest, precision,"
    " data, date, probability, revision",
    "audit": "at, action, identity_id, digest, details",
}
_FROM_NOW_ON = {
    "model": "id, name, digest, dimension",
    "identity": "id, name, external_id, created_at, removed_at, merged_into",
    "template": "id, identity_id, source, source_digest, box_x, box_y, box_width, box_height, detection_score, quality,"
    " precision, created_at, removed_at",
    "calibration": "id, target, scores, trials, gallery_size, templates_per_identity, fusion, model_digest, precision,"
    " data, date, probability, revision",
    "audit": "id, at, action, identity_id, details",
}
_GALLERY = (
    "g.uuid, g.created_at, g.fusion, g.revision, g.model_id, g.model_since, g.erasure_key, g.erase_pending,"
    " m.name, m.digest, m.dimension"
)
_VISIBLE = "FROM template t JOIN identity i ON i.id = t.identity_id WHERE t.removed_at IS NULL"


def upgrade() -> None:
    """Verify what is there, cover it whole, count it."""
    for table, columns in _BEFORE.items():
        refuse_damage(table, columns)
    op.add_column("model", sa.Column("checksum", WHOLE, nullable=False, server_default=sa.text("0")))
    _renew_gallery()
    op.execute("ALTER TABLE audit DROP COLUMN digest")
    op.create_table(
        "erased",
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("checksum", WHOLE, nullable=False, server_default=sa.text("0")),
        sa.PrimaryKeyConstraint("digest", name="pk_erased"),
        sa.CheckConstraint("length(digest) = 32", name=op.f("ck_erased_digest")),
    )
    op.create_table(
        "tally",
        sa.Column("name", sa.String(16), nullable=False),
        sa.Column("rows", WHOLE, nullable=False),
        sa.Column("total", WHOLE, nullable=False),
        sa.Column("last_id", WHOLE, nullable=False),
        sa.Column("checksum", WHOLE, nullable=False, server_default=sa.text("0")),
        sa.PrimaryKeyConstraint("name", name="pk_tally"),
    )
    for table, columns in _FROM_NOW_ON.items():
        cover(table, columns)
    cover("gallery", _GALLERY, GALLERY_AND_MODEL)
    for name in (*_FROM_NOW_ON, "undo", "erased"):
        last = "0" if name in ("undo", "erased") else _last_id(name)
        op.execute(f"INSERT INTO tally SELECT '{name}', COUNT(*), COALESCE(SUM(checksum), 0), {last}, 0 FROM {name}")
    for name, source, pair in (
        ("visible", _VISIBLE, ("t.id", "t.identity_id")),
        ("active", f"{_VISIBLE} AND i.removed_at IS NULL", ("t.id", "t.identity_id")),
        ("change", "FROM change", ("revision", "template_id")),
    ):
        op.execute(f"INSERT INTO tally SELECT '{name}', COUNT(*), COALESCE(SUM({_weight(*pair)}), 0), 0, 0 {source}")
    cover("tally", "name, rows, total, last_id", key="name")


def downgrade() -> None:
    """Older programs cannot read what newer ones wrote."""
    raise NotImplementedError("restore a backup that was made before the upgrade")


def _last_id(table: str) -> str:
    """Return the SQL of the highest id a table ever gave; SQLite counted those of some tables by itself."""
    if op.get_bind().dialect.name != "sqlite":
        return "COALESCE(MAX(id), 0)"
    return f"MAX(COALESCE(MAX(id), 0), COALESCE((SELECT seq FROM sqlite_sequence WHERE name = '{table}'), 0))"


def _renew_gallery() -> None:
    free_key("gallery")
    op.create_table(
        "gallery_0004",
        sa.Column("id", WHOLE, nullable=False, autoincrement=False),
        sa.Column("uuid", sa.String(36), nullable=False),
        sa.Column("created_at", sa.String(20), nullable=False),
        sa.Column("fusion", sa.String(4), nullable=False),
        sa.Column("revision", WHOLE, nullable=False),
        sa.Column("model_id", WHOLE, nullable=False),
        sa.Column("model_since", WHOLE, nullable=False),
        sa.Column("erasure_key", sa.LargeBinary, nullable=False),
        sa.Column("erase_pending", WHOLE, nullable=False),
        sa.Column("checksum", WHOLE, nullable=False, server_default=sa.text("0")),
        sa.PrimaryKeyConstraint("id", name="pk_gallery"),
        sa.CheckConstraint("id = 1", name=op.f("ck_gallery_one_row")),
        sa.CheckConstraint("fusion IN ('max', 'mean')", name=op.f("ck_gallery_fusion")),
        sa.CheckConstraint("revision >= 1", name=op.f("ck_gallery_revision")),
        sa.CheckConstraint("length(erasure_key) = 32", name=op.f("ck_gallery_erasure_key")),
        sa.CheckConstraint("erase_pending IN (0, 1)", name=op.f("ck_gallery_erase_pending")),
        sa.ForeignKeyConstraint(["model_id"], ["model.id"], name="fk_gallery_model_id_model"),
    )
    # The digests of names that the trail held are destroyed as an erased person's rows are: by the next writer.
    op.execute(
        "INSERT INTO gallery_0004 SELECT id, uuid, created_at, fusion, revision, model_id, revision, audit_salt, 1, 0"
        " FROM gallery"
    )
    op.drop_table("gallery")
    op.rename_table("gallery_0004", "gallery")


def _weight(first: str, second: str) -> str:
    x = f"(({first} % 2147483647 * 48271 + {second} % 2147483647) % 2147483647)"
    return f"(({x} * {x} + {x}) % 2147483647)"
