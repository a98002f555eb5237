//! The methods against plain references.

mod methods;
mod run;
