"""A calibration knows what it was measured on; strangers may be kept to measure with again."""

import sqlalchemy as sa
from alembic import op

from indexer.store.migrations.covering import cover, refuse_damage
from indexer.store.schema import WHOLE

revision = "0005"
down_revision = "0004"

_BEFORE = (
    "id, target, scores, trials, gallery_size, templates_per_identity, fusion, model_digest, precision, data, date,"
    " probability, revision"
)
_COVERED = f"{_BEFORE}, contents, templates, detector, quality_policy, cohort, cohort_scores"


def upgrade() -> None:
    """Verify what is there; add empty columns and the table of strangers; cover both by checksums and running sums."""
    refuse_damage("calibration", _BEFORE)
    for name, kind in (
        ("contents", sa.Text),
        ("templates", WHOLE),
        ("detector", sa.Text),
        ("quality_policy", sa.Text),
        ("cohort", sa.Text),
        ("cohort_scores", sa.LargeBinary),
    ):
        op.add_column("calibration", sa.Column(name, kind))
    cover("calibration", _COVERED)
    op.create_table(
        "stranger",
        sa.Column("id", WHOLE, nullable=False, autoincrement=False),
        sa.Column("person", WHOLE, nullable=False),
        sa.Column("model_id", WHOLE, nullable=False),
        sa.Column("vector", sa.LargeBinary, nullable=False),
        sa.Column("checksum", WHOLE, nullable=False, server_default=sa.text("0")),
        sa.ForeignKeyConstraint(["model_id"], ["model.id"], name=op.f("fk_stranger_model_id_model")),
        sa.PrimaryKeyConstraint("id", name="pk_stranger"),
        sa.CheckConstraint("length(vector) > 0 AND length(vector) % 4 = 0", name=op.f("ck_stranger_vector")),
    )
    total = "(SELECT COALESCE(SUM(checksum), 0) FROM calibration)"
    op.execute(f"UPDATE tally SET total = {total} WHERE name = 'calibration'")
    op.execute("INSERT INTO tally VALUES ('stranger', 0, 0, 0, 0)")
    cover("tally", "name, rows, total, last_id", key="name")


def downgrade() -> None:
    """Older programs cannot read what newer ones wrote."""
    raise NotImplementedError("restore a backup that was made before the upgrade")
