use std::path::Path;

use openledger_primitives::{Address, B256, OpenAmount};
use sha2::{Digest, Sha256};
use sqlx::{
    Row, SqlitePool,
    sqlite::{
        SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
    },
};

use crate::Error;

/// Connections to the database; writers queue behind one another anyway.
const CONNECTIONS_MAX: u32 = 4;

/// Keys and receipts, in SQLite. A write that returned is on disk.
#[derive(Debug, Clone)]
pub struct Store {
    pool: SqlitePool,
}

/// Where a receipt stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReceiptStatus {
    /// Signed and owed; not yet in a block.
    Issued,
    /// Paid out in a block.
    Settled,
    /// The chain refuses it; kept with the reason.
    Rejected,
}

/// One answer's receipt as stored.
#[derive(Debug, Clone)]
pub struct StoredReceipt {
    /// Id on chain.
    pub receipt_id: B256,
    /// Id of the completion it belongs to.
    pub completion_id: String,
    /// Who pays.
    pub payer: Address,
    /// What is owed.
    pub fee: OpenAmount,
    /// Where it stands.
    pub status: ReceiptStatus,
    /// The receipt document as JSON.
    pub document: String,
    /// The `attribution` key of the answer as JSON.
    pub attribution: String,
    /// Why the chain refused it.
    pub reason: Option<String>,
}

impl Store {
    /// Opens or creates the database at `path`.
    pub async fn open(path: &Path) -> Result<Self, Error> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full);
        let pool =
            SqlitePoolOptions::new().max_connections(CONNECTIONS_MAX).connect_with(options).await?;
        sqlx::migrate!().run(&pool).await?;
        Ok(Self { pool })
    }

    /// Lets `key` spend for `payer`. Only the key's hash is kept.
    pub async fn add_key(&self, key: &str, label: &str, payer: Address) -> Result<(), Error> {
        sqlx::query("INSERT OR REPLACE INTO api_keys VALUES (?, ?, ?, unixepoch())")
            .bind(key_hash(key))
            .bind(label)
            .bind(payer.to_string())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Whose balance `key` spends, if anybody issued it.
    pub async fn payer_of(&self, key: &str) -> Result<Option<Address>, Error> {
        let row = sqlx::query("SELECT payer FROM api_keys WHERE key_hash = ?")
            .bind(key_hash(key))
            .fetch_optional(&self.pool)
            .await?;
        row.map(|row| parsed(&row, "payer")).transpose()
    }

    /// Keeps a signed receipt. It is on disk when this returns.
    pub async fn issue(&self, receipt: &StoredReceipt) -> Result<(), Error> {
        sqlx::query(
            "INSERT INTO receipts (receipt_id, completion_id, payer, fee_wei, status, document, \
             attribution, created_at) VALUES (?, ?, ?, ?, 'issued', ?, ?, unixepoch())",
        )
        .bind(receipt.receipt_id.to_string())
        .bind(&receipt.completion_id)
        .bind(receipt.payer.to_string())
        .bind(receipt.fee.wei().to_string())
        .bind(&receipt.document)
        .bind(&receipt.attribution)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Replaces the document of a receipt once the chain has settled it.
    pub async fn settle(&self, id: B256, document: &str) -> Result<(), Error> {
        sqlx::query("UPDATE receipts SET status = 'settled', document = ? WHERE receipt_id = ?")
            .bind(document)
            .bind(id.to_string())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Marks a receipt the chain refuses for good.
    pub async fn reject(&self, id: B256, reason: &str) -> Result<(), Error> {
        sqlx::query("UPDATE receipts SET status = 'rejected', reason = ? WHERE receipt_id = ?")
            .bind(reason)
            .bind(id.to_string())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Receipts not yet settled, oldest first, at most `limit`.
    pub async fn open_receipts(&self, limit: u32) -> Result<Vec<StoredReceipt>, Error> {
        let rows = sqlx::query(
            "SELECT * FROM receipts WHERE status = 'issued' ORDER BY created_at, rowid LIMIT ?",
        )
        .bind(limit)
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(stored).collect()
    }

    /// Documents of settled receipts with their row numbers, in the order of rows, those after row `after`,
    /// at most `limit`.
    pub async fn settled_after(&self, after: i64, limit: u32) -> Result<Vec<(i64, String)>, Error> {
        let rows = sqlx::query(
            "SELECT rowid, document FROM receipts WHERE status = 'settled' AND rowid > ? \
             ORDER BY rowid LIMIT ?",
        )
        .bind(after)
        .bind(limit)
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(|row| Ok((row.try_get("rowid")?, row.try_get("document")?))).collect()
    }

    /// What `payer` owes in receipts the chain has not settled yet.
    pub async fn owed(&self, payer: Address) -> Result<OpenAmount, Error> {
        let rows =
            sqlx::query("SELECT fee_wei FROM receipts WHERE status = 'issued' AND payer = ?")
                .bind(payer.to_string())
                .fetch_all(&self.pool)
                .await?;
        rows.iter().try_fold(OpenAmount::ZERO, |sum, row| {
            let fee = OpenAmount::from_wei(parsed(row, "fee_wei")?);
            sum.checked_add(fee).ok_or_else(|| Error::Corrupt("fees overflow".into()))
        })
    }

    /// The receipt with this id, or the receipt of the completion with this id.
    pub async fn receipt(&self, id: &str) -> Result<Option<StoredReceipt>, Error> {
        let row = sqlx::query("SELECT * FROM receipts WHERE receipt_id = ? OR completion_id = ?")
            .bind(id)
            .bind(id)
            .fetch_optional(&self.pool)
            .await?;
        row.as_ref().map(stored).transpose()
    }
}

fn key_hash(key: &str) -> Vec<u8> {
    Sha256::digest(key.as_bytes()).to_vec()
}

fn parsed<T: core::str::FromStr>(row: &SqliteRow, column: &str) -> Result<T, Error> {
    let text: String = row.try_get(column)?;
    text.parse().map_err(|_| Error::Corrupt(format!("column {column} holds {text:?}")))
}

fn stored(row: &SqliteRow) -> Result<StoredReceipt, Error> {
    let status: String = row.try_get("status")?;
    Ok(StoredReceipt {
        receipt_id: parsed(row, "receipt_id")?,
        completion_id: row.try_get("completion_id")?,
        payer: parsed(row, "payer")?,
        fee: OpenAmount::from_wei(parsed(row, "fee_wei")?),
        status: match status.as_str() {
            "issued" => ReceiptStatus::Issued,
            "settled" => ReceiptStatus::Settled,
            "rejected" => ReceiptStatus::Rejected,
            other => return Err(Error::Corrupt(format!("status {other:?}"))),
        },
        document: row.try_get("document")?,
        attribution: row.try_get("attribution")?,
        reason: row.try_get("reason")?,
    })
}
