//! Reading QR codes. Whatever the bytes are, the answer is a payload or one sentence.

use crate::exit::{Exit, Failed};
use crate::files;
use handfast::{QrError, QrPayload};
use image::{GrayImage, ImageFormat, ImageReader, Limits, Luma};
use std::io::{BufRead, Cursor, IsTerminal, Read, Write};
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use zeroize::Zeroizing;

/// Largest image file: a photograph of a telephone has about 5 MB.
const MAX_IMAGE_BYTES: usize = 16 * 1024 * 1024;
const MAX_IMAGE_SIDE: u32 = 8192;
/// Memory for decoding: 48 megapixels of three bytes.
const MAX_IMAGE_MEMORY: u64 = 144 * 1024 * 1024;
/// QR codes are found faster, and in blurred photographs better, in a picture of this size.
const SEARCH_SIDE: u32 = 1024;
/// Longest text of a QR code, with room to spare.
const MAX_TEXT_BYTES: usize = 4096;

const PNG_START: u8 = 0x89;
const JPEG_START: u8 = 0xff;

/// Reads a QR code from a PNG or JPEG file.
pub(crate) fn from_file(path: &Path) -> Result<QrPayload, Failed> {
    let bytes = files::read_bounded(files::open(path)?, MAX_IMAGE_BYTES).map_err(|error| match error.kind() {
        std::io::ErrorKind::FileTooLarge => image_too_large(),
        _ => files::cannot("read", path, &error),
    })?;
    from_image(&bytes)
}

/// Reads an image from stdin up to its end, or the text of a QR code, of which only one line is taken.
pub(crate) fn from_stdin() -> Result<QrPayload, Failed> {
    let mut stdin = std::io::stdin().lock();
    if stdin.is_terminal() {
        // Without the invitation the command still works.
        let _ = writeln!(std::io::stderr(), "Paste the text of the QR code and press Enter:");
    }
    let unreadable = |error| Failed::new(Exit::File, format!("cannot read stdin: {error}"));
    // No UTF-8 text begins with either byte.
    if let Some(&(PNG_START | JPEG_START)) = stdin.fill_buf().map_err(unreadable)?.first() {
        let bytes = files::read_bounded(&mut stdin, MAX_IMAGE_BYTES).map_err(|error| match error.kind() {
            std::io::ErrorKind::FileTooLarge => image_too_large(),
            _ => unreadable(error),
        })?;
        return from_image(&bytes);
    }
    let mut line = Zeroizing::new(String::with_capacity(MAX_TEXT_BYTES));
    stdin
        .take(MAX_TEXT_BYTES as u64)
        .read_line(&mut line)
        .map_err(|_| bad_qr("stdin holds neither a PNG or JPEG image nor the text of a QR code"))?;
    if line.trim().is_empty() {
        return Err(bad_qr("stdin is empty: give it a PNG or JPEG image, or the text of the QR code"));
    }
    from_text(&line)
}

/// Takes a QR code's text from the command line.
pub(crate) fn from_argument(text: &str) -> Result<QrPayload, Failed> {
    from_text(text)
}

/// Finds the one Handfast QR code in a PNG or JPEG image.
pub(crate) fn from_image(bytes: &[u8]) -> Result<QrPayload, Failed> {
    let format = match bytes.first() {
        Some(&PNG_START) => ImageFormat::Png,
        Some(&JPEG_START) => ImageFormat::Jpeg,
        _ => {
            return Err(bad_qr(
                "the file is neither a PNG nor a JPEG image: take a screenshot or a photograph of the QR code",
            ));
        }
    };
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_IMAGE_SIDE);
    limits.max_image_height = Some(MAX_IMAGE_SIDE);
    limits.max_alloc = Some(MAX_IMAGE_MEMORY);
    reader.limits(limits);
    let image = reader.decode().map_err(|error| match error {
        image::ImageError::Limits(_) => image_too_large(),
        _ => bad_qr("the image is damaged or cut off: make it again"),
    })?;
    let image = image.into_luma8();

    let mut error = None;
    for text in texts(&image) {
        match from_text(&text) {
            Ok(payload) => return Ok(payload),
            Err(refused) => error = Some(refused),
        }
    }
    Err(error.unwrap_or_else(|| {
        bad_qr("no QR code was found in the image: show all of it, sharp and with its white margin")
    }))
}

fn from_text(text: &str) -> Result<QrPayload, Failed> {
    QrPayload::parse(text, &[]).map_err(|error| match error {
        QrError::NotHandfast => bad_qr("this is not a Handfast QR code: scan the one that `handfast` shows"),
        QrError::UnknownVersion(_) => Failed::new(Exit::Version, error),
        error => bad_qr(format_args!("{error}: show it again and scan the whole of it")),
    })
}

/// The texts of all QR codes in the image, those of a scaled-down copy first.
fn texts(image: &GrayImage) -> Vec<Zeroizing<String>> {
    let (width, height) = image.dimensions();
    let scale = f64::from(SEARCH_SIDE) / f64::from(width.max(height).max(1));
    if scale < 1.0 {
        let smaller = |side: u32| ((f64::from(side) * scale) as u32).max(1);
        let found = search(&image::imageops::thumbnail(image, smaller(width), smaller(height)));
        if !found.is_empty() {
            return found;
        }
    }
    search(image)
}

fn search(image: &GrayImage) -> Vec<Zeroizing<String>> {
    let (width, height) = image.dimensions();
    let search = || {
        let mut prepared = rqrr::PreparedImage::prepare_from_greyscale(width as usize, height as usize, |x, y| {
            image.get_pixel_checked(x as u32, y as u32).map_or(0xff, |pixel| pixel.0[0])
        });
        let grids = prepared.detect_grids();
        grids.iter().filter_map(|grid| grid.decode().ok()).map(|(_, text)| Zeroizing::new(text)).collect()
    };
    // The image comes from anywhere, and the search is not ours: what makes it panic is an image without a QR code.
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let found = panic::catch_unwind(AssertUnwindSafe(search));
    panic::set_hook(hook);
    found.unwrap_or_default()
}

/// What a camera would see of a QR code drawn in a terminal, as the bytes of a PNG file.
pub(crate) fn photograph(screen: &str) -> Result<Zeroizing<Vec<u8>>, Failed> {
    const CELL: u32 = 4;
    let rows: Vec<Vec<char>> = screen
        .lines()
        .map(|line| line.chars().filter(|c| matches!(c, '█' | '▀' | '▄' | ' ')).collect::<Vec<char>>())
        .filter(|row| row.iter().filter(|c| **c != ' ').count() >= 8)
        .collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let side = |cells: usize| u32::try_from(cells).map(|cells| cells * CELL).map_err(Failed::internal);
    let image = GrayImage::from_fn(side(columns)?, side(rows.len() * 2)?, |x, y| {
        let (column, row) = ((x / CELL) as usize, (y / CELL) as usize);
        let cell = rows.get(row / 2).and_then(|cells| cells.get(column)).copied().unwrap_or(' ');
        let light = cell == '█' || cell == if row % 2 == 0 { '▀' } else { '▄' };
        Luma([if light { 0xff } else { 0 }])
    });
    let mut file = Zeroizing::new(Vec::new());
    image.write_to(&mut Cursor::new(&mut *file), ImageFormat::Png).map_err(Failed::internal)?;
    Ok(file)
}

fn bad_qr(message: impl std::fmt::Display) -> Failed {
    Failed::new(Exit::BadQr, message)
}

fn image_too_large() -> Failed {
    bad_qr(format_args!(
        "the image is too large: at most {} MB and {MAX_IMAGE_SIDE} pixels a side; cut out the QR code",
        MAX_IMAGE_BYTES / 1024 / 1024
    ))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn png(image: &GrayImage) -> Vec<u8> {
        let mut bytes = Vec::new();
        image.write_to(&mut Cursor::new(&mut bytes), ImageFormat::Png).unwrap();
        bytes
    }

    fn refusal(bytes: &[u8]) -> (Exit, String) {
        let failed = from_image(bytes).unwrap_err();
        (failed.exit, failed.message)
    }

    fn qr_of(text: &str) -> GrayImage {
        let code = qrcode::QrCode::new(text).unwrap();
        let width = code.width();
        let colours = code.to_colors();
        GrayImage::from_fn((width as u32 + 8) * 4, (width as u32 + 8) * 4, |x, y| {
            let (x, y) = (x as usize / 4, y as usize / 4);
            let inside = (4..4 + width).contains(&x) && (4..4 + width).contains(&y);
            let dark = inside && colours[(y - 4) * width + x - 4] == qrcode::Color::Dark;
            Luma([if dark { 0 } else { 0xff }])
        })
    }

    #[test]
    fn bytes_that_are_no_image_are_refused() {
        for bytes in [&b""[..], b"GIF89a", b"HANDFAST:/1"] {
            let (exit, message) = refusal(bytes);
            assert_eq!(exit, Exit::BadQr);
            assert!(message.starts_with("the file is neither"), "{message}");
        }
    }

    #[test]
    fn a_truncated_image_is_refused_wherever_it_ends() {
        let whole = png(&qr_of("HANDFAST:/1"));
        for end in (1..whole.len() - 12).step_by(whole.len() / 50) {
            let (exit, message) = refusal(&whole[..end]);
            assert_eq!(exit, Exit::BadQr);
            assert!(message.starts_with("the image is damaged"), "{end}: {message}");
        }
    }

    #[test]
    fn an_image_without_a_qr_code_is_refused() {
        let (exit, message) = refusal(&png(&GrayImage::from_pixel(64, 64, Luma([200]))));
        assert_eq!(exit, Exit::BadQr);
        assert!(message.starts_with("no QR code was found"), "{message}");
    }

    #[test]
    fn another_programs_qr_code_is_told_apart() {
        let (exit, message) = refusal(&png(&qr_of("https://example.com/")));
        assert_eq!(exit, Exit::BadQr);
        assert!(message.starts_with("this is not a Handfast QR code"), "{message}");
    }

    #[test]
    fn a_qr_code_of_a_later_version_says_who_must_update() {
        let (exit, message) = refusal(&png(&qr_of("HANDFAST:/00844424930131968")));
        assert_eq!(exit, Exit::Version, "{message}");
    }

    #[test]
    fn an_image_over_the_limits_is_refused_before_it_is_decoded() {
        let (exit, message) = refusal(&png(&GrayImage::new(MAX_IMAGE_SIDE + 1, 1)));
        assert_eq!(exit, Exit::BadQr);
        assert!(message.starts_with("the image is too large"), "{message}");
    }
}
