//! What the program `send` signs and posts: samples by the name of their event type, and bodies in files, with members set
//! on the command line.

mod assignment;
mod event;
mod signature;

pub use assignment::{Assignment, AssignmentError};
pub use event::{Event, EventError};
pub use signature::sign;
