//! Entrances for the fuzz targets (`fuzz/`). Compiled only under `cfg(fuzzing)`.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{B256, Bytes};

use crate::{
    BlockProduction, Config, Genesis, Handle, Node,
    storage::{BLOCK_LOG, Log, decode_block, encode_block, test_disk::TestDisk},
    transaction::SignedTx,
};

/// A raw transaction: refused, or the same bytes after decoding and encoding.
pub fn transaction(bytes: &[u8]) {
    let Ok(tx) = SignedTx::decode(Bytes::copy_from_slice(bytes)) else { return };
    assert_eq!(tx.tx.inner().encoded_2718(), bytes);
    assert_eq!(tx.hash(), alloy_primitives::keccak256(bytes));
}

/// What follows the header of a block log, and one record's payload.
pub fn block_log(bytes: &[u8]) {
    let mut file = Log::file_header(BLOCK_LOG, B256::ZERO);
    file.extend_from_slice(bytes);
    let mut records = 0;
    let _ = Log::open(
        Arc::new(TestDisk::holding(file)),
        "fuzz".into(),
        BLOCK_LOG,
        B256::ZERO,
        |_, _| {
            records += 1;
            Ok(())
        },
    );
    if let Ok((block, diff)) = decode_block(bytes) {
        let written = encode_block(&block, &diff);
        let (again, diff_again) = decode_block(&written).expect("what was written is read");
        assert_eq!((block, diff), (again, diff_again));
    }
}

/// The body of a JSON-RPC request to a running node: one well-formed answer comes back.
pub fn rpc_request(bytes: &[u8]) {
    static NODE: OnceLock<Target> = OnceLock::new();
    let answer = NODE.get_or_init(Target::start).post(bytes);
    assert!(!answer.is_empty());
    if answer.starts_with(b"{") || answer.starts_with(b"[") {
        let json = serde_json::from_slice::<serde_json::Value>(&answer);
        assert!(json.is_ok(), "{}", String::from_utf8_lossy(&answer));
    }
}

/// A node that is asked over HTTP, on one connection while it lasts.
struct Target {
    _runtime: tokio::runtime::Runtime,
    node: Handle,
    connection: Mutex<Option<BufReader<TcpStream>>>,
}

impl Target {
    fn start() -> Self {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
        let dir = std::env::temp_dir().join(format!("openledger-fuzz-{}", std::process::id()));
        let config = Config {
            rpc_addr: ([127, 0, 0, 1], 0).into(),
            block_production: BlockProduction::Manual,
            dev: true,
            ..Config::new(dir)
        };
        let node = runtime.block_on(Node::start(config, Genesis::devnet())).expect("it starts");
        Self { _runtime: runtime, node, connection: Mutex::default() }
    }

    /// The answer's body. An old connection may have been closed: one more is then tried.
    fn post(&self, body: &[u8]) -> Vec<u8> {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let had_one = connection.is_some();
        let answer = self.try_post(&mut connection, body);
        if answer.is_none() && had_one {
            *connection = None;
            return self.try_post(&mut connection, body).expect("the node answers");
        }
        answer.expect("the node answers")
    }

    fn try_post(
        &self,
        connection: &mut Option<BufReader<TcpStream>>,
        body: &[u8],
    ) -> Option<Vec<u8>> {
        if connection.is_none() {
            let stream = TcpStream::connect(self.node.rpc_addr()).ok()?;
            stream.set_nodelay(true).ok()?;
            *connection = Some(BufReader::new(stream));
        }
        let reader = connection.as_mut()?;
        let head = format!(
            "POST / HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        );
        let mut request = head.into_bytes();
        request.extend_from_slice(body);
        reader.get_mut().write_all(&request).ok()?;
        let mut length = None;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let line = line.trim().to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().ok();
            }
            if line.is_empty() {
                break;
            }
        }
        let mut answer = vec![0; length?];
        reader.read_exact(&mut answer).ok()?;
        Some(answer)
    }
}
