//! Frames of zstd (RFC 8878), one behind the other, each with its checksum, and those that are to be skipped. The crate
//! reads one frame and compares no checksum. It refuses dictionaries, as the crate does.

use std::io::{self, BufRead, Read};

use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use super::members::Ahead;

pub(super) struct Frames<R> {
    input: Ahead<R>,
    /// The frame that is being read.
    frame: Option<FrameDecoder>,
    window: u64,
    begun: bool,
    /// It is cut off in this frame.
    cut: bool,
}

/// The last block of a frame, without a byte, and room for a checksum.
const LAST: [u8; 7] = [1, 0, 0, 0, 0, 0, 0];

impl<R: BufRead> Frames<R> {
    /// Reads from `input`; `window`: more octets are not kept for one frame.
    pub(super) fn new(input: R, window: u64) -> Frames<R> {
        Frames { input: Ahead::new(input), frame: None, window, begun: false, cut: false }
    }

    /// The next frame that has content; `None`: there is no more.
    fn next_frame(&mut self) -> io::Result<Option<FrameDecoder>> {
        loop {
            if self.input.fill_buf()?.is_empty() && !self.begun {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if std::mem::replace(&mut self.begun, true) && !self.input.begins(is_frame)? {
                return Ok(None);
            }
            let mut frame = FrameDecoder::new();
            frame.set_max_window_size(self.window);
            match frame.init(&mut self.input) {
                Ok(()) => return Ok(Some(frame)),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    let mut rest = self.input.by_ref().take(u64::from(length));
                    if io::copy(&mut rest, &mut io::sink())? < u64::from(length) {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(FrameDecoderError::WindowSizeTooBig { .. }) => {
                    return Err(io::ErrorKind::OutOfMemory.into());
                }
                Err(e) => return Err(broken(e)),
            }
        }
    }
}

/// A frame, or one that is to be skipped; also one that is cut off in its first bytes.
fn is_frame(head: &[u8]) -> bool {
    let mark = head.get(1..4).unwrap_or_default();
    match head.first() {
        Some(0x28) => [0xb5, 0x2f, 0xfd].starts_with(mark),
        Some(0x50..=0x5f) => [0x2a, 0x4d, 0x18].starts_with(mark),
        _ => false,
    }
}

fn broken(error: FrameDecoderError) -> io::Error {
    // The crate says of a read that failed only in words.
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        if let Some(cause) = cause.downcast_ref::<io::Error>()
            && cause.kind() == io::ErrorKind::UnexpectedEof
        {
            return io::ErrorKind::UnexpectedEof.into();
        }
        source = cause.source();
    }
    io::Error::new(io::ErrorKind::InvalidData, error.to_string())
}

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if self.frame.is_none() {
                self.frame = self.next_frame()?;
            }
            let Some(frame) = &mut self.frame else { return Ok(0) };
            while frame.can_collect() == 0 && !frame.is_finished() {
                let one = BlockDecodingStrategy::UptoBlocks(1);
                let Err(e) = frame.decode_blocks(&mut self.input, one).map_err(broken) else { continue };
                if e.kind() != io::ErrorKind::UnexpectedEof || self.cut {
                    return Err(e);
                }
                // The crate keeps a whole window until the frame ends: it is made to end, so that its blocks come.
                self.cut = true;
                if !frame.is_finished() {
                    frame.decode_blocks(&LAST[..], BlockDecodingStrategy::UptoBlocks(1)).map_err(broken)?;
                }
            }
            let count = frame.read(buffer)?;
            if count > 0 {
                return Ok(count);
            }
            if self.cut {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let told = frame.get_checksum_from_data();
            if told.is_some() && told != frame.get_calculated_checksum() {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a checksum is wrong"));
            }
            self.frame = None;
        }
    }
}
