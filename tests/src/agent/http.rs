//! The little of HTTP/1.1 that the agent's answers need.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};

/// Sends `GET path` and returns the body; panics unless the status is 200.
pub fn get<S: Read + Write>(stream: S, path: &str) -> Body<S> {
    get_as(stream, path, "application/openmetrics-text, */*")
}

/// Likewise, in the form that `accept` asks for.
pub fn get_as<S: Read + Write>(mut stream: S, path: &str, accept: &str) -> Body<S> {
    let headers = format!("Host: tcpwhy\r\nConnection: close\r\nAccept: {accept}");
    write!(stream, "GET {path} HTTP/1.1\r\n{headers}\r\n\r\n").expect("send a request");
    let mut reader = BufReader::new(stream);
    let status = line(&mut reader).expect("an answer");
    assert_eq!(status.split(' ').nth(1), Some("200"), "GET {path}: {status}");
    let mut chunked = false;
    loop {
        let header = line(&mut reader).expect("a header").to_ascii_lowercase();
        if header.is_empty() {
            return Body { reader, left: if chunked { Left::Chunk(0) } else { Left::All } };
        }
        chunked |= header.starts_with("transfer-encoding:") && header.ends_with("chunked");
    }
}

/// The body of an answer, its transfer coding removed.
#[derive(Debug)]
pub struct Body<S> {
    reader: BufReader<S>,
    left: Left,
}

#[derive(Clone, Copy, Debug)]
enum Left {
    /// Until the connection ends.
    All,
    /// Bytes of this chunk; then another follows.
    Chunk(usize),
    /// Nothing.
    End,
}

impl<S: Read> Body<S> {
    /// Bytes that may be read as they are; 0 at the end.
    fn available(&mut self) -> io::Result<usize> {
        match self.left {
            Left::All => Ok(usize::MAX),
            Left::Chunk(0) => self.next_chunk(),
            Left::Chunk(left) => Ok(left),
            Left::End => Ok(0),
        }
    }

    fn next_chunk(&mut self) -> io::Result<usize> {
        let size = line(&mut self.reader)?;
        let size =
            usize::from_str_radix(&size, 16).unwrap_or_else(|_| panic!("not the size of a chunk: {size}"));
        self.left = if size == 0 { Left::End } else { Left::Chunk(size) };
        Ok(size)
    }

    fn took(&mut self, count: usize) -> io::Result<()> {
        let Left::Chunk(left) = &mut self.left else { return Ok(()) };
        *left -= count;
        if *left == 0 {
            assert_eq!(line(&mut self.reader)?, "", "a chunk ends with its line");
        }
        Ok(())
    }
}

impl<S: Read> Read for Body<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = buffer.len().min(self.available()?);
        if wanted == 0 {
            return Ok(0);
        }
        let count = self.reader.read(&mut buffer[..wanted])?;
        self.took(count)?;
        Ok(count)
    }
}

/// A line without its end. One cut short is an error: the agent hung up, or the reader did.
fn line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    if line.ends_with('\n') { Ok(line.trim_end().to_owned()) } else { Err(ErrorKind::UnexpectedEof.into()) }
}
