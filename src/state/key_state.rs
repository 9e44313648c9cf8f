use std::fmt;

use super::journal::{Journal, Slot};

/// The state of one key, in the hands of a function of [`map_with_state`](crate::DStream::map_with_state) for one call.
///
/// Spark's `State`. Its `getOption` is [`get`](KeyState::get); its `get`, which throws where there is none, is
/// `get().unwrap()` for those who want it. ([`State`](crate::State) is that of a context here.)
///
/// # Examples
///
/// ```
/// use tidemill::{KeyState, StateSpec, testing::run};
///
/// // The third visit closes the account.
/// let visits = [vec!["ada"], vec!["ada", "ada"], vec!["ada"]];
/// let out = run(visits, |names| {
///     let visit = |_: &String, _: Option<()>, visits: &mut KeyState<u32>| {
///         let number = visits.get().map_or(1, |before| before + 1);
///         if number == 3 { visits.remove() } else { visits.update(number) }
///         number
///     };
///     names.map(|name| (name.to_string(), ())).map_with_state(StateSpec::function(visit)).mapped()
/// })?;
/// assert_eq!(out, [vec![1], vec![2, 3], vec![1]]);
/// # Ok::<(), tidemill::Error>(())
/// ```
pub struct KeyState<'t, S> {
    id: u32,
    slot: &'t mut Slot<S>,
    journal: &'t mut Journal<S>,
    phase: Phase,
}

/// What has become of the state in this call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Unchanged,
    Updated,
    Removed,
    TimingOut,
}

impl<'t, S> KeyState<'t, S> {
    #[inline]
    pub(super) fn new(id: u32, slot: &'t mut Slot<S>, journal: &'t mut Journal<S>, is_timing_out: bool) -> Self {
        let phase = if is_timing_out { Phase::TimingOut } else { Phase::Unchanged };
        KeyState { id, slot, journal, phase }
    }

    #[inline]
    pub(super) fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether the key has a state.
    #[inline]
    pub fn exists(&self) -> bool {
        self.slot.state.is_some()
    }

    /// The state of the key, if it has one.
    #[inline]
    pub fn get(&self) -> Option<&S> {
        self.slot.state.as_ref()
    }

    /// Gives the key this state from here on.
    ///
    /// # Panics
    ///
    /// After [`remove`](KeyState::remove) in the same call, and while the key [times out](KeyState::is_timing_out). The
    /// batch then fails with an error that says so, and the state is as it was before the batch.
    #[inline]
    pub fn update(&mut self, state: S) {
        self.check("updated");
        self.journal.put(self.id, self.slot, Some(state));
        self.phase = Phase::Updated;
    }

    /// Takes the state from the key. A later record of the key begins without one, also in the same batch.
    ///
    /// # Panics
    ///
    /// As [`update`](KeyState::update).
    #[inline]
    pub fn remove(&mut self) {
        self.check("removed");
        if self.exists() {
            self.journal.put(self.id, self.slot, None);
        }
        self.phase = Phase::Removed;
    }

    /// Whether this call is the last one for the key: it has been idle for longer than the timeout, and loses its state
    /// when the call is over.
    #[inline]
    pub fn is_timing_out(&self) -> bool {
        self.phase == Phase::TimingOut
    }

    #[inline]
    fn check(&self, what: &str) {
        match self.phase {
            Phase::Unchanged | Phase::Updated => {}
            Phase::Removed => refuse(what, "was removed in the same call"),
            Phase::TimingOut => refuse(what, "is timing out: it is removed when the call is over"),
        }
    }
}

#[cold]
fn refuse(what: &str, why: &str) -> ! {
    panic!("the state of a key cannot be {what}: it {why}")
}

impl<S: fmt::Debug> fmt::Debug for KeyState<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyState").field("state", &self.slot.state).field("phase", &self.phase).finish_non_exhaustive()
    }
}
