"""The first schema: identities, templates, embeddings in a table of their own, calibrations, the audit trail."""

import sqlalchemy as sa
from alembic import op

from indexer.store.schema import WHOLE

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create every table."""
    op.create_table(
        "model",
        sa.Column("id", WHOLE, nullable=False, autoincrement=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("dimension", WHOLE, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_model"),
        sa.UniqueConstraint("digest", name="uq_model_digest"),
        sa.CheckConstraint("length(digest) = 64", name=op.f("ck_model_digest")),
        sa.CheckConstraint("dimension BETWEEN 1 AND 65536", name=op.f("ck_model_dimension")),
    )
    op.create_table(
        "gallery",
        sa.Column("id", WHOLE, nullable=False, autoincrement=False),
        sa.Column("uuid", sa.String(36), nullable=False),
        sa.Column("created_at", sa.String(20), nullable=False),
        sa.Column("fusion", sa.String(4), nullable=False),
        sa.Column("revision", WHOLE, nullable=False),
        sa.Column("model_id", WHOLE, nullable=False),
        sa.Column("audit_salt", sa.LargeBinary, nullable=False),
        sa.Column("erase_pending", WHOLE, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_gallery"),
        sa.CheckConstraint("id = 1", name=op.f("ck_gallery_one_row")),
        sa.CheckConstraint("fusion IN ('max', 'mean')", name=op.f("ck_gallery_fusion")),
        sa.CheckConstraint("revision >= 1", name=op.f("ck_gallery_revision")),
        sa.CheckConstraint("length(audit_salt) = 32", name=op.f("ck_gallery_audit_salt")),
        sa.CheckConstraint("erase_pending IN (0, 1)", name=op.f("ck_gallery_erase_pending")),
        sa.ForeignKeyConstraint(["model_id"], ["model.id"], name="fk_gallery_model_id_model"),
    )
    op.create_table(
        "identity",
        sa.Column("id", WHOLE, nullable=False, autoincrement=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("external_id", sa.Text),
        sa.Column("created_at", sa.String(20), nullable=False),
        sa.Column("removed_at", sa.String(20)),
        sa.Column("merged_into", WHOLE),
        sa.PrimaryKeyConstraint("id", name="pk_identity"),
        *_octets("name"),
        *_octets("external_id"),
        sa.CheckConstraint(
            "merged_into IS NULL OR (merged_into <> id AND removed_at IS NOT NULL)",
            name=op.f("ck_identity_merged"),
        ),
        sa.ForeignKeyConstraint(["merged_into"], ["identity.id"], name="fk_identity_merged_into_identity"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "uq_identity_external_id",
        "identity",
        ["external_id"],
        unique=True,
        sqlite_where=sa.text("external_id IS NOT NULL"),
        postgresql_where=sa.text("external_id IS NOT NULL"),
    )
    op.create_index(
        "uq_identity_name_alone",
        "identity",
        ["name"],
        unique=True,
        sqlite_where=sa.text("external_id IS NULL"),
        postgresql_where=sa.text("external_id IS NULL"),
    )
    op.create_index("ix_identity_name", "identity", ["name"])
    op.create_index("ix_identity_merged_into", "identity", ["merged_into"])
    op.create_table(
        "template",
        sa.Column("id", WHOLE, nullable=False, autoincrement=False),
        sa.Column("identity_id", WHOLE, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("source_digest", sa.LargeBinary, nullable=False),
        sa.Column("box_x", sa.Float),
        sa.Column("box_y", sa.Float),
        sa.Column("box_width", sa.Float),
        sa.Column("box_height", sa.Float),
        sa.Column("detection_score", sa.Float),
        sa.Column("quality", sa.Float),
        sa.Column("precision", sa.String(8), nullable=False),
        sa.Column("created_at", sa.String(20), nullable=False),
        sa.Column("removed_at", sa.String(20)),
        sa.PrimaryKeyConstraint("id", name="pk_template"),
        sa.UniqueConstraint("identity_id", "source_digest", name="uq_template_identity_id"),
        sa.CheckConstraint("length(source_digest) = 32", name=op.f("ck_template_source_digest")),
        sa.CheckConstraint("precision IN ('float32', 'bfloat16')", name=op.f("ck_template_precision")),
        sa.CheckConstraint(
            "(box_x IS NULL) = (box_y IS NULL) AND (box_x IS NULL) = (box_width IS NULL)"
            " AND (box_x IS NULL) = (box_height IS NULL)",
            name=op.f("ck_template_box"),
        ),
        sa.ForeignKeyConstraint(
            ["identity_id"], ["identity.id"], name="fk_template_identity_id_identity", ondelete="CASCADE"
        ),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_template_source_digest", "template", ["source_digest"])
    op.create_table(
        "embedding",
        sa.Column("template_id", WHOLE, nullable=False),
        sa.Column("model_id", WHOLE, nullable=False),
        sa.Column("vector", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("template_id", "model_id", name="pk_embedding"),
        sa.CheckConstraint("length(vector) > 0 AND length(vector) % 4 = 0", name=op.f("ck_embedding_vector")),
        sa.ForeignKeyConstraint(
            ["template_id"], ["template.id"], name="fk_embedding_template_id_template", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["model_id"], ["model.id"], name="fk_embedding_model_id_model"),
    )
    op.create_table(
        "calibration",
        sa.Column("id", WHOLE, nullable=False, autoincrement=False),
        sa.Column("target", sa.String(4), nullable=False),
        sa.Column("scores", sa.LargeBinary, nullable=False),
        sa.Column("trials", WHOLE, nullable=False),
        sa.Column("gallery_size", WHOLE),
        sa.Column("templates_per_identity", sa.Float),
        sa.Column("fusion", sa.String(4)),
        sa.Column("model_digest", sa.String(64), nullable=False),
        sa.Column("precision", sa.String(8), nullable=False),
        sa.Column("data", sa.Text, nullable=False),
        sa.Column("date", sa.Text, nullable=False),
        sa.Column("revision", WHOLE, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_calibration"),
        sa.CheckConstraint("target IN ('fpir', 'far')", name=op.f("ck_calibration_target")),
        sa.CheckConstraint(
            "length(scores) % 4 = 0 AND length(scores) / 4 <= trials", name=op.f("ck_calibration_scores")
        ),
        sa.CheckConstraint("(target = 'fpir') = (gallery_size IS NOT NULL)", name=op.f("ck_calibration_gallery_size")),
    )
    op.create_table(
        "audit",
        sa.Column("id", WHOLE, nullable=False, autoincrement=False),
        sa.Column("at", sa.String(20), nullable=False),
        sa.Column("action", sa.String(16), nullable=False),
        sa.Column("identity_id", WHOLE),
        sa.Column("digest", sa.LargeBinary),
        sa.Column("details", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit"),
        sqlite_autoincrement=True,
    )


def downgrade() -> None:
    """There is nothing before the first schema."""
    raise NotImplementedError("there is no schema before 0001")


def _octets(column: str) -> tuple[sa.CheckConstraint, sa.CheckConstraint]:
    name = op.f(f"ck_identity_{column}")
    return (
        sa.CheckConstraint(f"length(CAST({column} AS BLOB)) BETWEEN 1 AND 255", name=name).ddl_if("sqlite"),
        sa.CheckConstraint(f"octet_length({column}) BETWEEN 1 AND 255", name=name).ddl_if("postgresql"),
    )
