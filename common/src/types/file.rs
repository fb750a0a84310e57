//! A file that somebody gets.

/// A file, in a mail or as a download.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// ASCII, without quotation marks: the encodings of others are not shown by every program.
    pub name: String,
    pub media_type: &'static str,
    pub content: Vec<u8>,
}
