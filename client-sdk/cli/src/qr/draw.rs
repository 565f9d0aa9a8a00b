//! Drawing: half blocks for terminals, PNG for everything else.

use crate::exit::Failed;
use handfast::QrText;
use image::{GrayImage, ImageEncoder, Luma};
use qrcode::bits::Bits;
use qrcode::types::QrError;
use qrcode::{Color, EcLevel, QrCode, Version};
use std::ops::Range;
use zeroize::Zeroizing;

/// The light frame around a QR code, in modules, that ISO 18004 asks for.
const QUIET_ZONE: usize = 4;

/// Pixels a module.
const SCALE: usize = 8;

const LARGEST_VERSION: i16 = 40;

/// White on black, whatever the colours of the terminal are: a block is a light module.
const LIGHT_ON_DARK: &str = "\x1b[38;5;231;48;5;16m";
const PLAIN: &str = "\x1b[0m";

/// The QR code in lines of half blocks, two modules a character cell. Without colours it suits a dark terminal.
pub(crate) fn terminal(text: &QrText, colours: bool) -> Result<Zeroizing<String>, Failed> {
    let modules = Modules::encode(text, EcLevel::L)?;
    let (before, after) = if colours { (LIGHT_ON_DARK, PLAIN) } else { ("", "") };
    let mut drawing = Zeroizing::new(String::with_capacity(modules.side() * modules.side() * 2));
    for row in (0..modules.side()).step_by(2) {
        drawing.push_str(before);
        for column in 0..modules.side() {
            // A row below the last one is left as dark as an empty cell.
            let lower = row + 1 < modules.side() && modules.is_light(column, row + 1);
            drawing.push(match (modules.is_light(column, row), lower) {
                (true, true) => '█',
                (true, false) => '▀',
                (false, true) => '▄',
                (false, false) => ' ',
            });
        }
        drawing.push_str(after);
        drawing.push('\n');
    }
    Ok(drawing)
}

/// The QR code as the bytes of a PNG file.
pub(crate) fn png(text: &QrText) -> Result<Zeroizing<Vec<u8>>, Failed> {
    let modules = Modules::encode(text, EcLevel::M)?;
    let side = u32::try_from(modules.side() * SCALE).map_err(Failed::internal)?;
    let image = GrayImage::from_fn(side, side, |x, y| {
        Luma([if modules.is_light(x as usize / SCALE, y as usize / SCALE) { 0xff } else { 0 }])
    });
    let pixels = Zeroizing::new(image.into_raw());
    let mut file = Zeroizing::new(Vec::new());
    image::codecs::png::PngEncoder::new(&mut *file)
        .write_image(&pixels, side, side, image::ExtendedColorType::L8)
        .map_err(Failed::internal)?;
    Ok(file)
}

/// A QR code with its quiet zone.
struct Modules {
    width: usize,
    colours: Zeroizing<Vec<bool>>,
}

impl Modules {
    /// In the smallest version that holds the text.
    fn encode(text: &QrText, level: EcLevel) -> Result<Self, Failed> {
        let (prefix, digits) = text.reveal_segments();
        let code = (1..=LARGEST_VERSION)
            .find_map(|version| encode_as(Version::Normal(version), level, prefix, digits).ok())
            .ok_or_else(|| Failed::internal("the text is too long for a QR code"))?;
        let light = code.to_colors().into_iter().map(|colour| colour == Color::Light).collect();
        Ok(Self { width: code.width(), colours: Zeroizing::new(light) })
    }

    fn side(&self) -> usize {
        self.width + 2 * QUIET_ZONE
    }

    fn is_light(&self, x: usize, y: usize) -> bool {
        let inside: Range<usize> = QUIET_ZONE..QUIET_ZONE + self.width;
        if !inside.contains(&x) || !inside.contains(&y) {
            return true;
        }
        let index = (y - QUIET_ZONE) * self.width + (x - QUIET_ZONE);
        self.colours.get(index).copied().unwrap_or(true)
    }
}

fn encode_as(version: Version, level: EcLevel, prefix: &str, digits: &str) -> Result<QrCode, QrError> {
    let mut bits = Bits::new(version);
    bits.push_alphanumeric_data(prefix.as_bytes())?;
    bits.push_numeric_data(digits.as_bytes())?;
    bits.push_terminator(level)?;
    QrCode::with_bits(bits, level)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::from_image;
    use super::super::scan::photograph;
    use super::*;
    use handfast::QrPayload;
    use image::imageops::FilterType;
    use std::io::Cursor;

    /// With a relay hint of the greatest length: the largest QR code that there is.
    const LARGE: &str = "HANDFAST:/002836740168752680141400215290113103392053753942290053701053549834490734815695602483171773907085621752697958554845805936781780388353943465839752282498275638616969665836602743631291877822131644379415852087052";

    fn payload() -> QrPayload {
        QrPayload::parse(LARGE, &[]).unwrap()
    }

    #[test]
    fn what_is_drawn_in_a_terminal_can_be_scanned() {
        for colours in [false, true] {
            let drawing = terminal(&payload().to_uri(), colours).unwrap();
            let image = photograph(&drawing).unwrap();
            assert_eq!(from_image(&image).unwrap(), payload());
        }
    }

    /// Such a QR code fits into a terminal of 80 by 30 cells.
    #[test]
    fn a_drawing_has_its_quiet_zone_and_few_rows() {
        let drawing = terminal(&payload().to_uri(), false).unwrap();
        let lines: Vec<&str> = drawing.lines().collect();
        assert_eq!(lines.len(), 23);
        assert!(lines.iter().all(|line| line.chars().count() == 45));
        assert!(lines.iter().take(2).all(|line| line.chars().all(|c| c == '█')));
        assert!(lines.iter().all(|line| line.starts_with("████") || line.starts_with("▀▀▀▀")));
    }

    #[test]
    fn a_qr_code_is_found_in_a_large_photograph() {
        let code = image::load_from_memory(&png(&payload().to_uri()).unwrap()).unwrap().to_luma8();
        let mut photograph = GrayImage::from_fn(4000, 3000, |x, y| Luma([((x / 16 + y / 16) % 200) as u8]));
        image::imageops::overlay(
            &mut photograph,
            &image::imageops::resize(&code, 1500, 1500, FilterType::Triangle),
            1700,
            900,
        );
        let mut jpeg = Vec::new();
        photograph.write_to(&mut Cursor::new(&mut jpeg), image::ImageFormat::Jpeg).unwrap();
        assert_eq!(from_image(&jpeg).unwrap(), payload());
    }

    #[test]
    fn what_is_written_as_png_can_be_scanned() {
        assert_eq!(from_image(&png(&payload().to_uri()).unwrap()).unwrap(), payload());
    }
}
