//! The embedded broker does what every broker must do.
//!
//! Here and not in `streamerson-core`, which would have to depend on the suite that depends on it.

use streamerson_core::broker::memory::Memory;
use streamerson_test::conformance::Subject;

streamerson_test::conformance!(Subject::embedded(Memory::new().into()));
