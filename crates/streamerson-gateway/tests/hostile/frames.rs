//! HTTP/2 by hand: frames, and headers in the plainest form that HPACK has.

use std::time::Duration;

use tokio::{io::AsyncReadExt, time::timeout};

use crate::scene::{PATIENCE, Raw, Scene};

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

pub(crate) const PROTOCOL_ERROR: u32 = 1;
pub(crate) const REFUSED_STREAM: u32 = 7;
pub(crate) const ENHANCE_YOUR_CALM: u32 = 11;

/// A frame as it is on the wire.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&len[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Headers as literals without indexing and without Huffman's code (RFC 7541, section 6.2.2).
pub(crate) fn block(headers: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in headers {
        block.push(0);
        for text in [name, value] {
            length(&mut block, text.len());
            block.extend(text.as_bytes());
        }
    }
    block
}

/// An integer with a prefix of 7 bits.
fn length(block: &mut Vec<u8>, len: usize) {
    let Some(mut rest) = len.checked_sub(127) else { return block.push(u8::try_from(len).unwrap()) };
    block.push(127);
    while rest >= 128 {
        block.push(u8::try_from(rest % 128).unwrap() | 128);
        rest /= 128;
    }
    block.push(u8::try_from(rest).unwrap());
}

/// What every request has.
pub(crate) fn request<'a>(method: &'a str, path: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![(":method", method), (":scheme", "http"), (":authority", "x"), (":path", path)]
}

/// A whole request without a body.
pub(crate) fn get(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&request("GET", path)))
}

/// A frame that came.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// The code of a `RST_STREAM` or a `GOAWAY`.
    pub(crate) fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }

    /// The status in a `HEADERS`, where it is one of those that HPACK has a number for, or a literal.
    pub(crate) fn status(&self) -> u16 {
        // An update of the table's size may come first (RFC 7541, section 6.3).
        let payload = match self.payload[0] {
            0x20..0x40 => &self.payload[1..],
            _ => &self.payload,
        };
        match payload[0] {
            0x88 => 200,
            0x89 => 204,
            0x8a => 206,
            0x8b => 304,
            0x8c => 400,
            0x8d => 404,
            0x8e => 500,
            _ => huffman_digits(payload),
        }
    }
}

/// A status as the encoder writes it that has no number: the name by its number, and digits in Huffman's code of 5 or 6
/// bits each.
fn huffman_digits(payload: &[u8]) -> u16 {
    let len = usize::from(payload[1] & 0x7f);
    let text = &payload[2..2 + len];
    if payload[1] & 0x80 == 0 {
        return std::str::from_utf8(text).unwrap().parse().unwrap();
    }
    let mut bits: Vec<bool> = text.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1)).collect();
    let mut digits = 0;
    let mut take = |count: usize| bits.drain(..count).fold(0_u16, |value, bit| value << 1 | u16::from(bit));
    for _ in 0..3 {
        let five = take(5);
        digits = digits * 10 + if five < 3 { five } else { (five << 1 | take(1)) - 22 };
    }
    digits
}

impl Scene {
    /// A connection of HTTP/2 that has shaken hands, with these settings.
    pub(crate) async fn http2(&self, settings: &[(u16, u32)]) -> Raw {
        self.http2_over(self.connect().await, settings).await
    }

    /// The same on a connection that is open already.
    pub(crate) async fn http2_over(&self, mut raw: Raw, settings: &[(u16, u32)]) -> Raw {
        let settings: Vec<u8> =
            settings.iter().flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()).collect();
        raw.send([PREFACE, &frame(SETTINGS, 0, 0, &settings)].concat()).await;
        raw.frame_of(SETTINGS).await;
        raw.send(frame(SETTINGS, ACK, 0, &[])).await;
        raw
    }
}

impl Raw {
    /// The next frame; `None` when the connection is closed.
    pub(crate) async fn frame(&mut self) -> Option<Frame> {
        let read = async {
            let mut head = [0; 9];
            self.0.read_exact(&mut head).await.ok()?;
            let len = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let mut payload = vec![0; len];
            self.0.read_exact(&mut payload).await.ok()?;
            let stream = u32::from_be_bytes(head[5..].try_into().unwrap());
            Some(Frame { kind: head[3], flags: head[4], stream, payload })
        };
        timeout(PATIENCE, read).await.expect("a frame, or the end, in time")
    }

    /// The next frame of this kind.
    pub(crate) async fn frame_of(&mut self, kind: u8) -> Frame {
        loop {
            let frame = self.frame().await.unwrap_or_else(|| panic!("closed before a frame {kind} came"));
            if frame.kind == kind {
                return frame;
            }
        }
    }

    /// The status of the response on a stream; `None` when the stream or the connection is ended without one.
    pub(crate) async fn frames_until_answer(&mut self, stream: u32) -> Option<u16> {
        loop {
            let frame = self.frame().await?;
            match frame.kind {
                HEADERS if frame.stream == stream => return Some(frame.status()),
                RST_STREAM if frame.stream == stream => return None,
                GOAWAY => return None,
                _ => {}
            }
        }
    }

    /// All frames until the server closes; what it asks meanwhile is answered, as by a client that means it.
    pub(crate) async fn frames(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(next) = self.frame().await {
            if next.kind == PING && next.flags & ACK == 0 {
                self.send(frame(PING, ACK, 0, &next.payload)).await;
            }
            frames.push(next);
        }
        frames
    }

    /// How the server ended the connection: the code of the last `GOAWAY`. `None` when it just closed.
    pub(crate) async fn goaway(&mut self) -> Option<u32> {
        self.frames().await.iter().rev().find(|frame| frame.kind == GOAWAY).map(Frame::code)
    }

    /// Sends as long as the server takes it, or for this long; whether it still does.
    pub(crate) async fn floods(&mut self, bytes: &[u8], times: usize) -> bool {
        for _ in 0..times {
            match timeout(Duration::from_secs(2), tokio::io::AsyncWriteExt::write_all(&mut self.0, bytes)).await {
                Ok(Ok(())) => {}
                // It does not read any more, or it has closed.
                Ok(Err(_)) | Err(_) => return false,
            }
        }
        true
    }
}
