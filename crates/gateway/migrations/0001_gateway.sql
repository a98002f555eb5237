-- API keys, by hash: the key itself is shown once and never kept.
CREATE TABLE api_keys (
    key_hash   BLOB    PRIMARY KEY NOT NULL,
    label      TEXT    NOT NULL,
    payer      TEXT    NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

-- One row per answer. Written before the answer leaves, so a crash never loses what is owed.
CREATE TABLE receipts (
    receipt_id    TEXT    PRIMARY KEY NOT NULL,
    completion_id TEXT    NOT NULL UNIQUE,
    payer         TEXT    NOT NULL,
    fee_wei       TEXT    NOT NULL,
    status        TEXT    NOT NULL CHECK (status IN ('issued', 'settled', 'rejected')),
    document      TEXT    NOT NULL,
    attribution   TEXT    NOT NULL,
    reason        TEXT,
    created_at    INTEGER NOT NULL
) STRICT;

CREATE INDEX receipts_open ON receipts (created_at) WHERE status = 'issued';
