//! The decoder from outside: same bits however a text is read, files that come back as they were.

mod bits;
mod files;
mod nano;
mod tiny;
