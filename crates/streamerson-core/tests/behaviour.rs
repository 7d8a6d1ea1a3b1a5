//! What clients and members do, over the embedded broker.

use streamerson_core::broker::memory::Memory;
use streamerson_test::conformance::Subject;

streamerson_test::behaviour!(Subject::embedded(Memory::new().into()));
