//! HTTP/1.1 over one kept-alive loopback connection, as little of it as a load generator needs: write
//! the request that was built beforehand, read one response, hand out its body.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// A node that says nothing for this long is stuck.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// What is read at once.
const READ_BYTES: usize = 64 << 10;

/// A connection that stays open between requests.
pub(crate) struct Connection {
    addr: SocketAddr,
    stream: Option<TcpStream>,
    inbox: Vec<u8>,
    body: Vec<u8>,
}

/// A whole HTTP request with `body`, ready to be written.
pub(crate) fn request(addr: SocketAddr, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST / HTTP/1.1\r\nHost: {addr}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

impl Connection {
    pub(crate) fn new(addr: SocketAddr) -> Self {
        Self { addr, stream: None, inbox: Vec::with_capacity(READ_BYTES), body: Vec::new() }
    }

    /// Writes `request` and reads the body of the response. After an error the next call opens a new
    /// connection; nothing is sent twice.
    pub(crate) fn exchange(&mut self, request: &[u8]) -> io::Result<&[u8]> {
        let outcome = self.try_exchange(request);
        if !matches!(outcome, Ok(true)) {
            self.stream = None;
        }
        outcome.map(|_| self.body.as_slice())
    }

    /// Whether the connection may be used again.
    fn try_exchange(&mut self, request: &[u8]) -> io::Result<bool> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            absent => absent.insert(open(self.addr)?),
        };
        stream.write_all(request)?;
        self.inbox.clear();
        let head_end = loop {
            let searched = self.inbox.len().saturating_sub(3);
            fill(stream, &mut self.inbox)?;
            if let Some(at) = self.inbox[searched..].windows(4).position(|w| w == b"\r\n\r\n") {
                break searched + at + 4;
            }
        };
        let head = String::from_utf8_lossy(&self.inbox[..head_end]).to_ascii_lowercase();
        let field = |name: &str| {
            head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
        };
        self.body.clear();
        if field("transfer-encoding") == Some("chunked") {
            self.body.extend(chunked(stream, &mut self.inbox, head_end)?);
        } else {
            let length = field("content-length").and_then(|length| length.parse::<usize>().ok());
            let length = length.ok_or_else(|| invalid("a response without a length"))?;
            while self.inbox.len() < head_end + length {
                fill(stream, &mut self.inbox)?;
            }
            self.body.extend_from_slice(&self.inbox[head_end..head_end + length]);
        }
        if !head.starts_with("http/1.1 200") {
            let line = head.lines().next().unwrap_or_default();
            return Err(invalid(&format!("the node answered {line}")));
        }
        Ok(field("connection") != Some("close"))
    }
}

fn open(addr: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(addr)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(SILENCE_MAX))?;
    stream.set_write_timeout(Some(SILENCE_MAX))?;
    Ok(stream)
}

/// Reads what there is, at least one byte.
fn fill(stream: &mut TcpStream, inbox: &mut Vec<u8>) -> io::Result<()> {
    let held = inbox.len();
    inbox.resize(held + READ_BYTES, 0);
    let read = stream.read(&mut inbox[held..]);
    inbox.truncate(held + *read.as_ref().unwrap_or(&0));
    match read? {
        0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the node closed the connection")),
        _ => Ok(()),
    }
}

/// The body of a chunked response that begins at `at`. Trailers are not expected.
fn chunked(stream: &mut TcpStream, inbox: &mut Vec<u8>, mut at: usize) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line_end = loop {
            if let Some(end) = inbox[at..].windows(2).position(|w| w == b"\r\n") {
                break at + end;
            }
            fill(stream, inbox)?;
        };
        let size = std::str::from_utf8(&inbox[at..line_end]).ok();
        let size = size.and_then(|size| usize::from_str_radix(size.trim(), 16).ok());
        let size = size.ok_or_else(|| invalid("a chunk without a size"))?;
        let (start, end) = (line_end + 2, line_end + 2 + size);
        while inbox.len() < end + 2 {
            fill(stream, inbox)?;
        }
        if size == 0 {
            return Ok(body);
        }
        body.extend_from_slice(&inbox[start..end]);
        at = end + 2;
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, thread};

    use super::*;

    #[test]
    fn bodies_with_a_length_and_in_chunks_are_read_whole_on_one_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            assert!(stream.read(&mut request).unwrap() > 0);
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe").unwrap();
            stream.write_all(b"llo").unwrap();
            assert!(stream.read(&mut request).unwrap() > 0);
            let chunks = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\
                           3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
            for byte in chunks {
                stream.write_all(&[*byte]).unwrap();
            }
        });
        let mut connection = Connection::new(addr);
        assert_eq!(connection.exchange(&request(addr, b"{}")).unwrap(), b"hello");
        assert_eq!(connection.exchange(&request(addr, b"{}")).unwrap(), b"abcde");
        server.join().unwrap();
        assert!(connection.exchange(&request(addr, b"{}")).is_err(), "a closed one is an error");
    }
}
