//! The decoder from outside: same bits however a text is read, files that come back as they were, gradients of
//! an independent automatic differentiation.

mod bits;
mod candle;
mod families;
mod files;
mod merged;
mod nano;
mod peft;
mod serving;
mod tiny;
