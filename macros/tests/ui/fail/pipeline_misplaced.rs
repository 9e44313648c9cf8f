//! All that is wrong is reported at once, and what uses the items does not fail as well.

#[tidemill::pipeline(name = "clicks")]
fn arguments() {}

#[tidemill::pipeline]
struct NoFunction;

#[tidemill::pipeline("clicks", 1)]
pub const ARGUMENTS_AND_NO_FUNCTION: u8 = 1;

#[tidemill::pipeline]
impl NoFunction {
    fn method(&self) {}
}

trait NoBody {
    /// Documentation is no obstacle.
    #[tidemill::pipeline]
    fn build(&self, name: &str);
}

#[tidemill::pipeline]
unsafe extern "C" {}

fn main() {
    arguments();
    NoFunction.method();
    let _ = ARGUMENTS_AND_NO_FUNCTION;
}
