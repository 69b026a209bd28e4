//! What the programs `send` and `bus` send: samples by the name of their event type, and bodies in files, with members set
//! on the command line.

mod assignment;
mod event;
mod signature;

pub use assignment::{Assignment, AssignmentError};
pub use event::{Event, EventError, parse_count};
pub use signature::sign;
