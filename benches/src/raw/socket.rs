//! RESP over a blocking socket, with nothing between the bytes and whoever wants them.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
};

/// Large enough for a whole batch, so that a batch takes few system calls.
const READ_BYTES: usize = 256 * 1024;

/// A connection to the server.
pub(super) struct Socket {
    stream: TcpStream,
    /// Commands that were not sent yet.
    pub(super) commands: Commands,
    buffer: Box<[u8]>,
    /// What was received and not read yet.
    start: usize,
    end: usize,
}

impl Socket {
    pub(super) fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let buffer = vec![0; READ_BYTES].into_boxed_slice();
        Ok(Self { stream, commands: Commands::default(), buffer, start: 0, end: 0 })
    }

    /// Sends the commands.
    pub(super) fn send(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.commands.0)?;
        self.commands.0.clear();
        Ok(())
    }

    /// Reads so many replies whose content interests nobody.
    pub(super) fn skip(&mut self, replies: usize) -> io::Result<()> {
        let mut missing = replies;
        while missing > 0 {
            let (kind, length) = self.header()?;
            missing -= 1;
            match kind {
                b'$' => _ = self.take(length)?,
                b'*' => missing += length,
                _ => {}
            }
        }
        Ok(())
    }

    /// Reads the length of an array; a nil array is one of none.
    pub(super) fn array(&mut self) -> io::Result<usize> {
        match self.header()? {
            (b'*', length) => Ok(length),
            (kind, _) => Err(io::Error::other(format!("not an array but {:?}", char::from(kind)))),
        }
    }

    /// Reads a string.
    pub(super) fn bulk(&mut self) -> io::Result<&[u8]> {
        match self.header()? {
            (b'$', length) => self.take(length),
            (kind, _) => Err(io::Error::other(format!("not a string but {:?}", char::from(kind)))),
        }
    }

    /// Reads a line: its type and, where it has one, its length. Those of integers and words mean nothing.
    fn header(&mut self) -> io::Result<(u8, usize)> {
        let mut searched = 1;
        let len = loop {
            let line = self.buffer.get(self.start + searched..self.end).unwrap_or_default();
            if let Some(at) = line.iter().position(|&byte| byte == b'\n') {
                break searched + at + 1;
            }
            searched = (self.end - self.start).max(1);
            self.receive()?;
        };
        let line = &self.buffer[self.start..self.start + len];
        self.start += len;
        if line[0] == b'-' {
            return Err(io::Error::other(String::from_utf8_lossy(line).trim().to_owned()));
        }
        let digits = line[1..].iter().take_while(|byte| byte.is_ascii_digit());
        Ok((line[0], digits.fold(0_usize, |number, digit| number.wrapping_mul(10).wrapping_add((digit - b'0').into()))))
    }

    /// Reads so many bytes and the end of the line.
    fn take(&mut self, length: usize) -> io::Result<&[u8]> {
        while self.end - self.start < length + 2 {
            self.receive()?;
        }
        let start = self.start;
        self.start += length + 2;
        Ok(&self.buffer[start..start + length])
    }

    fn receive(&mut self) -> io::Result<()> {
        if self.start > READ_BYTES / 2 || self.start == self.end {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        match self.stream.read(&mut self.buffer[self.end..])? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            read => {
                self.end += read;
                Ok(())
            }
        }
    }
}

/// Commands, one behind the other.
#[derive(Default)]
pub(super) struct Commands(Vec<u8>);

impl Commands {
    /// Begins a command of so many arguments, its name included.
    pub(super) fn command(&mut self, arguments: usize) -> &mut Self {
        self.header(b'*', arguments);
        self
    }

    pub(super) fn arg(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let bytes = bytes.as_ref();
        self.header(b'$', bytes.len());
        self.0.extend_from_slice(bytes);
        self.0.extend_from_slice(b"\r\n");
        self
    }

    /// Adds arguments that were encoded apart.
    pub(super) fn append(&mut self, others: &mut Self) {
        self.0.append(&mut others.0);
    }

    fn header(&mut self, kind: u8, mut number: usize) {
        let mut digits = [0; 20];
        let mut start = digits.len();
        loop {
            start -= 1;
            digits[start] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                break;
            }
        }
        self.0.push(kind);
        self.0.extend_from_slice(&digits[start..]);
        self.0.extend_from_slice(b"\r\n");
    }
}
