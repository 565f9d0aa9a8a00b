//! QR codes: drawn in a terminal or as a PNG, read from images or text.

mod draw;
mod scan;

pub(crate) use draw::{png, terminal};
pub(crate) use scan::{from_argument, from_file, from_image, from_stdin, photograph};
