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
//! | [`drift`] | Is an event's `data` what the catalogue says? |
//! | [`detail`], [`data`] | What does a consumer find in an event? |
//!
//! Consumers of the events need [`detail`] and what it stands on, and none of the function: for them it is a feature,
//! `function`, that `default-features = false` leaves out.
//!
//! Time, environment and network are arguments: `main` reads them, nothing below it does.

#[cfg(feature = "function")]
pub mod aws;
#[cfg(feature = "function")]
pub mod bus;
pub mod catalogue;
#[cfg(feature = "function")]
pub mod config;
pub mod data;
pub mod detail;
pub mod drift;
#[cfg(feature = "function")]
pub mod entry;
#[cfg(feature = "function")]
pub mod envelope;
#[cfg(feature = "function")]
pub mod event;
#[cfg(feature = "function")]
pub mod function;
pub mod json;
#[cfg(feature = "function")]
pub mod log;
#[cfg(feature = "function")]
pub mod problem;
#[cfg(feature = "function")]
pub mod queue;
#[cfg(feature = "function")]
pub mod response;
#[cfg(feature = "function")]
pub mod secret;
#[cfg(feature = "function")]
pub mod signature;
pub mod timestamp;
#[cfg(feature = "function")]
pub mod trouble;
