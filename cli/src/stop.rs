//! The signals that end the program, for commands that have something to clean up.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGINT, SIGTERM and SIGHUP. Their handlers are installed from the beginning, so none is missed.
pub(crate) struct Stop([Signal; 3]);

impl Stop {
    pub(crate) fn install() -> io::Result<Self> {
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let [interrupt, terminate, hangup] = kinds.map(signal);
        Ok(Self([interrupt?, terminate?, hangup?]))
    }

    /// Waits for one of the signals.
    pub(crate) async fn received(&mut self) {
        let Self([interrupt, terminate, hangup]) = self;
        tokio::select! { _ = interrupt.recv() => {} _ = terminate.recv() => {} _ = hangup.recv() => {} }
    }
}
