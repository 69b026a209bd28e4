//! If several callers are ready at the same time, combines their items into one call.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use tokio::{sync::oneshot, task::yield_now};

/// Combines items of the type `I` in calls whose output is an `O`.
pub struct Batcher<I, O> {
    max_items: usize,
    max_bytes: usize,
    /// The latest batch. The caller that began it owns it.
    latest: Mutex<Weak<Batch<I, O>>>,
}

/// The output of a call, and the index of the caller's item in it.
type Output<O> = (Arc<O>, usize);

/// A batch, or `None` once its call has begun.
type Batch<I, O> = Mutex<Option<Joined<I, O>>>;

struct Joined<I, O> {
    items: Vec<I>,
    bytes: usize,
    /// The callers of all items except the first, whose caller makes the call.
    callers: Vec<oneshot::Sender<Output<O>>>,
}

impl<I, O> Batcher<I, O> {
    /// Sets the limits of one call. A single item may be larger.
    #[must_use]
    pub fn new(max_items: usize, max_bytes: usize) -> Self {
        Self { max_items, max_bytes, latest: Mutex::default() }
    }

    /// Makes a call with this item and the items of the other callers that are ready now. If another caller is about to make
    /// such a call, adds the item to that call instead, and waits for it. Returns the call's output and the item's index in
    /// the call, or `None` if the caller that made the call was cancelled. The item has this number of bytes.
    ///
    /// The call begins when the runtime polls this task again after a yield. Nothing else delays its start.
    pub async fn call<F>(&self, item: I, bytes: usize, call: impl FnOnce(Vec<I>) -> F) -> Option<Output<O>>
    where
        F: Future<Output = O>,
    {
        let batch = match self.join(item, bytes) {
            Ok(output) => return output.await.ok(),
            Err(batch) => batch,
        };
        yield_now().await;
        let joined = lock(&batch).take()?;
        let output = Arc::new(call(joined.items).await);
        for (caller, index) in joined.callers.into_iter().zip(1..) {
            // This fails if the caller was cancelled, and then nobody needs the output.
            let _ = caller.send((Arc::clone(&output), index));
        }
        Some((output, 0))
    }

    /// Adds an item to the latest batch, if it fits.
    ///
    /// # Errors
    /// A new batch with this item, for which the caller makes the call.
    fn join(&self, item: I, bytes: usize) -> Result<oneshot::Receiver<Output<O>>, Arc<Batch<I, O>>> {
        let mut latest = lock(&self.latest);
        if let Some(batch) = latest.upgrade()
            && let Some(joined) = &mut *lock(&batch)
            && joined.items.len() < self.max_items
            && joined.bytes + bytes <= self.max_bytes
        {
            joined.items.push(item);
            joined.bytes += bytes;
            let (sender, output) = oneshot::channel();
            joined.callers.push(sender);
            return Ok(output);
        }
        let batch = Arc::new(Mutex::new(Some(Joined { items: vec![item], bytes, callers: Vec::new() })));
        *latest = Arc::downgrade(&batch);
        Err(batch)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<I, O> fmt::Debug for Batcher<I, O> {
    /// Prints no items, because they contain events.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batcher").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{future::pending, time::Duration};

    use futures_util::future::join_all;
    use tokio::{sync::Notify, time::sleep};

    use super::*;

    /// The number of an item, and its size.
    type Item = (usize, usize);

    /// Calls the batcher once for each of these sizes, all at the same time. Returns the items of each call, by their numbers.
    /// Checks that each caller gets the output of the call with its item, and the index of that item.
    async fn calls(batcher: &Batcher<Item, Vec<Item>>, sizes: &[usize]) -> Vec<Vec<usize>> {
        let call = async |item: Item| {
            let (items, index) = batcher.call(item, item.1, |items| async { items }).await.unwrap();
            assert_eq!(items[index], item);
            items
        };
        let mut outputs = join_all(sizes.iter().copied().enumerate().map(call)).await;
        outputs.dedup_by(|one, other| Arc::ptr_eq(one, other));
        outputs.iter().map(|items| items.iter().map(|(number, _)| *number).collect()).collect()
    }

    #[tokio::test]
    async fn callers_that_are_ready_at_the_same_time_share_calls_within_the_limits() {
        let batcher = Batcher::new(3, 100);
        for (sizes, expected) in [
            (&[1][..], &[&[0][..]][..]),
            (&[1; 3], &[&[0, 1, 2]]),
            (&[1; 7], &[&[0, 1, 2], &[3, 4, 5], &[6]]),
            (&[50, 50, 1], &[&[0, 1], &[2]]),
            (&[50, 51, 49, 1], &[&[0], &[1, 2], &[3]]),
            (&[200, 1, 200], &[&[0], &[1], &[2]]),
        ] {
            assert_eq!(calls(&batcher, sizes).await, expected, "{sizes:?}");
        }
    }

    #[tokio::test]
    async fn a_call_that_has_begun_is_not_joined() {
        let batcher = Batcher::new(10, 100);
        let (begun, end) = (Notify::new(), Notify::new());
        let first = batcher.call((0, 1), 1, |items| async {
            begun.notify_one();
            end.notified().await;
            items
        });
        let others = async {
            begun.notified().await;
            assert_eq!(calls(&batcher, &[1, 1]).await, [[0, 1]]);
            end.notify_one();
        };
        let (first, ()) = tokio::join!(first, others);
        assert_eq!(*first.unwrap().0, [(0, 1)]);
    }

    #[tokio::test(start_paused = true)]
    async fn if_the_caller_that_makes_the_call_is_cancelled_the_others_learn_it() {
        let batcher = Arc::new(Batcher::new(10, 100));
        // Cancelled before the call begins, and during the call.
        for time in [Duration::ZERO, Duration::from_secs(1)] {
            let call = |number| {
                let batcher = Arc::clone(&batcher);
                tokio::spawn(async move { batcher.call((number, 1), 1, |_| pending()).await })
            };
            let (first, second) = (call(0), call(1));
            tokio::task::yield_now().await;
            if !time.is_zero() {
                sleep(time).await;
            }
            first.abort();
            assert!(first.await.unwrap_err().is_cancelled());
            assert_eq!(second.await.unwrap(), None, "{time:?}");
            assert_eq!(calls(&batcher, &[1]).await, [[0]], "{time:?}");
        }
    }

    #[tokio::test]
    async fn a_caller_that_joined_can_be_cancelled() {
        let batcher = Batcher::new(10, 100);
        let first = batcher.call((0, 1), 1, |items| async { items });
        let cancelled = async { drop(batcher.join((1, 1), 1)) };
        let (first, ()) = tokio::join!(first, cancelled);
        assert_eq!(*first.unwrap().0, [(0, 1), (1, 1)]);
    }

    #[test]
    fn debug_contains_no_item() {
        let batcher = Batcher::<_, ()>::new(10, 100);
        let _batch = batcher.join("secret", 1);
        assert_eq!(format!("{batcher:?}"), "Batcher { .. }");
    }
}
