//! Forwards Scalekit's signed webhooks to Amazon EventBridge.
//!
//! A delivery goes one way, from stage to stage. Each stage has its own type, its own file and its own error; only
//! [`function`] knows them all.
//!
//! ```text
//! Invocation → Request → Delivery → Verified → Event → Entry → Held → Response
//! └─── envelope ───┘     └── signature ──┘     event   entry   bus    response
//!                                                              queue
//! ```
//!
//! | module | its question |
//! |---|---|
//! | [`envelope`] | What did Lambda hand us? |
//! | [`signature`] | Is this delivery authentic? |
//! | [`secret`] | Which keys may sign? |
//! | [`event`] | Which event does an authentic body hold? With [`json`], [`timestamp`] and the [`catalogue`] of types. |
//! | [`entry`] | What goes onto the bus? |
//! | [`bus`] | Does the bus have it? |
//! | [`queue`] | Where do events wait that the bus can't have yet? |
//! | [`trouble`] | A call to AWS went wrong: whose fault is it, and is it worth another try? |
//! | [`problem`] | What is the sender told? |
//! | [`response`] | What does Lambda hand back? |
//! | [`log`] | What does the operator see? |
//! | [`config`], [`aws`] | What was the function told to do, and how does it reach AWS? |
//! | [`detail`] | What does a consumer find in an event? |
//!
//! Time, environment and network are arguments: `main` reads them, nothing below it does.

pub mod aws;
pub mod bus;
pub mod catalogue;
pub mod config;
pub mod detail;
pub mod entry;
pub mod envelope;
pub mod event;
pub mod function;
pub mod json;
pub mod log;
pub mod problem;
pub mod queue;
pub mod response;
pub mod secret;
pub mod signature;
pub mod timestamp;
pub mod trouble;
