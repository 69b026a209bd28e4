//! The events that the command-line programs send: samples by the name of their event type, and bodies in files, with
//! members set on the command line.

mod assignment;
mod event;

pub use assignment::{Assignment, AssignmentError};
pub use event::{Event, EventError};
