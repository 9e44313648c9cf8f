//! A program that goes on from the checkpoint of an older one: what it consents to, and what differs.

mod comparison;
mod names;

pub(super) use comparison::Left;
pub(crate) use comparison::{Comparison, Program, compare};
pub(super) use names::{called, of_role, short_name};

/// What a program may do to the checkpoint of an older one that would otherwise be refused.
///
/// When a program starts, it is compared with the one that wrote the checkpoint. What is kept and what is new needs no
/// consent. State that is gone or of another type is refused, with a line for each, and these consents take the refusal
/// back.
///
/// A consent counts only for what would be refused. So it may stay in the program while that is started again, and does
/// nothing then; the log warns of it, since it would count again for what you write tomorrow. Remove it when the upgrade
/// is done.
///
/// # Examples
///
/// ```
/// use tidemill::{Checkpoint, Upgrade};
///
/// let upgrade = Upgrade::new().drop_state("clicks_per_user").rename_state("totals", "totals_per_page");
/// let checkpoint = Checkpoint::new("/var/lib/clicks").upgrade(upgrade);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Upgrade {
    consents: Vec<Consent>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Consent {
    DropState(String),
    ResetState(String),
    RenameState { from: String, to: String },
    DropInput(String),
    RenameInput { from: String, to: String },
    RunOutputsAgain,
    FromApp(String),
}

impl Upgrade {
    /// Consents to nothing.
    pub fn new() -> Self {
        Upgrade::default()
    }

    /// Lets go of the state of an operator that the program has no more, or of the saved batches of a stream.
    #[must_use]
    pub fn drop_state(self, name: impl Into<String>) -> Self {
        self.consent(Consent::DropState(name.into()))
    }

    /// Lets the state of an operator begin empty if it is of another type than it was.
    #[must_use]
    pub fn reset_state(self, name: impl Into<String>) -> Self {
        self.consent(Consent::ResetState(name.into()))
    }

    /// Gives the state of an operator that the program has no more to one that it did not have before; or the saved
    /// batches of a stream to another.
    #[must_use]
    pub fn rename_state(self, from: impl Into<String>, to: impl Into<String>) -> Self {
        self.consent(Consent::RenameState { from: from.into(), to: to.into() })
    }

    /// Lets go of an input that the program has no more: of how far it has come, and of its records in batches that are
    /// not done.
    #[must_use]
    pub fn drop_input(self, name: impl Into<String>) -> Self {
        self.consent(Consent::DropInput(name.into()))
    }

    /// Has an input that the program did not have before go on where one that it has no more has come to. The new one
    /// has a name.
    #[must_use]
    pub fn rename_input(self, from: impl Into<String>, to: impl Into<String>) -> Self {
        self.consent(Consent::RenameInput { from: from.into(), to: to.into() })
    }

    /// Has outputs run again for batches that are not done, where it cannot be told any more which of them are done.
    #[must_use]
    pub fn run_outputs_again(self) -> Self {
        self.consent(Consent::RunOutputsAgain)
    }

    /// Takes over the checkpoint of a program that has another name.
    #[must_use]
    pub fn from_app(self, name: impl Into<String>) -> Self {
        self.consent(Consent::FromApp(name.into()))
    }

    fn consent(mut self, consent: Consent) -> Self {
        self.consents.push(consent);
        self
    }
}

impl Consent {
    /// As it is written in the program.
    fn in_words(&self) -> String {
        match self {
            Consent::DropState(name) => format!("drop_state({name:?})"),
            Consent::ResetState(name) => format!("reset_state({name:?})"),
            Consent::RenameState { from, to } => format!("rename_state({from:?}, {to:?})"),
            Consent::DropInput(name) => format!("drop_input({name:?})"),
            Consent::RenameInput { from, to } => format!("rename_input({from:?}, {to:?})"),
            Consent::RunOutputsAgain => "run_outputs_again()".to_string(),
            Consent::FromApp(name) => format!("from_app({name:?})"),
        }
    }
}
