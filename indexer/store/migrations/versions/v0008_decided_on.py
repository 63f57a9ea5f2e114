"""A gallery may decide on context; a calibration says which kind of scores it holds."""

import sqlalchemy as sa
from alembic import op

from indexer.store.migrations.covering import GALLERY_AND_MODEL, cover, free_key, refuse_damage
from indexer.store.schema import WHOLE

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


def upgrade() -> None:
    """Verify what is there, add both columns, and cover them by the checksums and running sums."""
    refuse_damage("calibration", f"{_BEFORE}, cohort_scores")
    refuse_damage("gallery", f"{_GALLERY_BEFORE}, {_MODEL}", GALLERY_AND_MODEL)
    _renew_gallery()
    op.add_column(
        "calibration", sa.Column("decided_on", sa.String(10), nullable=False, server_default=sa.text("'similarity'"))
    )
    cover("gallery", f"{_GALLERY_BEFORE}, g.decided_on, {_MODEL}", GALLERY_AND_MODEL)
    cover("calibration", f"{_BEFORE}, decided_on, cohort_scores")
    total = "(SELECT COALESCE(SUM(checksum), 0) FROM calibration)"
    op.execute(f"UPDATE tally SET total = {total} WHERE name = 'calibration'")
    cover("tally", "name, rows, total, last_id", key="name")


def _renew_gallery() -> None:
    free_key("gallery")
    op.create_table(
        "gallery_0008",
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
