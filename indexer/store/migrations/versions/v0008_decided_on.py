"""A gallery may decide on context; a calibration says which kind of scores it holds."""

import sqlalchemy as sa
from alembic import op

from indexer.errors import StoreDamaged
from indexer.store.checksum import SQL_NAME
from indexer.store.migrations.refuse_damage import refuse_damage

revision = "0008"
down_revision = "0007"

_BEFORE = (
    "id, target, scores, trials, gallery_size, templates_per_identity, fusion, model_digest, precision, data, date,"
    " probability, revision, contents, templates, detector, quality_policy, cohort"
)
_GALLERY_BEFORE = (
    "g.uuid, g.created_at, g.fusion, g.revision, g.model_id, g.model_since, g.erasure_key, g.erase_pending"
)
_MODEL = "m.name, m.digest, m.dimension"
_FROM = "FROM gallery g JOIN model m ON m.id = g.model_id"


def upgrade() -> None:
    """Verify what is there, add both columns, and cover them by the checksums and running sums."""
    refuse_damage("calibration", f"{_BEFORE}, cohort_scores")
    damaged = f"SELECT COUNT(*) {_FROM} WHERE g.checksum <> {SQL_NAME}({_GALLERY_BEFORE}, {_MODEL})"
    if op.get_bind().exec_driver_sql(damaged).scalar():
        raise StoreDamaged("the database's row on its gallery and model is damaged; restore it from a backup")
    _renew_gallery()
    op.add_column(
        "calibration", sa.Column("decided_on", sa.String(10), nullable=False, server_default=sa.text("'similarity'"))
    )
    op.execute(f"UPDATE gallery SET checksum = (SELECT {SQL_NAME}({_GALLERY_BEFORE}, g.decided_on, {_MODEL}) {_FROM})")
    op.execute(f"UPDATE calibration SET checksum = {SQL_NAME}({_BEFORE}, decided_on, cohort_scores)")
    total = "(SELECT COALESCE(SUM(checksum), 0) FROM calibration)"
    op.execute(f"UPDATE tally SET total = {total} WHERE name = 'calibration'")
    op.execute(f"UPDATE tally SET checksum = {SQL_NAME}(name, rows, total, last_id)")


def _renew_gallery() -> None:
    op.create_table(
        "gallery_0008",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("uuid", sa.String(36), nullable=False),
        sa.Column("created_at", sa.String(20), nullable=False),
        sa.Column("fusion", sa.String(4), nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("model_id", sa.Integer, nullable=False),
        sa.Column("model_since", sa.Integer, nullable=False),
        sa.Column("erasure_key", sa.LargeBinary, nullable=False),
        sa.Column("erase_pending", sa.Integer, nullable=False),
        sa.Column("checksum", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("decided_on", sa.String(10), nullable=False, server_default=sa.text("'similarity'")),
        sa.PrimaryKeyConstraint("id", name="pk_gallery"),
        sa.CheckConstraint("id = 1", name=op.f("ck_gallery_one_row")),
        sa.CheckConstraint("fusion IN ('max', 'mean')", name=op.f("ck_gallery_fusion")),
        sa.CheckConstraint("decided_on IN ('similarity', 'context')", name=op.f("ck_gallery_decided_on")),
        sa.CheckConstraint("revision >= 1", name=op.f("ck_gallery_revision")),
        sa.CheckConstraint("length(erasure_key) = 32", name=op.f("ck_gallery_erasure_key")),
        sa.CheckConstraint("erase_pending IN (0, 1)", name=op.f("ck_gallery_erase_pending")),
        sa.ForeignKeyConstraint(["model_id"], ["model.id"], name="fk_gallery_model_id_model"),
    )
    op.execute(
        "INSERT INTO gallery_0008 SELECT id, uuid, created_at, fusion, revision, model_id, model_since, erasure_key,"
        " erase_pending, checksum, 'similarity' FROM gallery"
    )
    op.drop_table("gallery")
    op.rename_table("gallery_0008", "gallery")


def downgrade() -> None:
    """Older programs cannot read what newer ones wrote."""
    raise NotImplementedError("restore a backup that was made before the upgrade")
