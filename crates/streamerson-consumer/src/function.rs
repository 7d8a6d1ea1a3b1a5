//! Functions of any number of arguments, as one trait.

/// An async function whose arguments are the tuple `Args`.
///
/// It asks nothing of the arguments nor of the result: those have bounds of their own, so that the compiler names the
/// argument or the result that is wrong instead of the whole function.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an async function of at most 12 arguments",
    label = "not an async function",
    note = "closures also have to be `Clone + Send + Sync + 'static`, with arguments whose types are written out"
)]
pub trait Function<Args>: Clone + Send + Sync + 'static {
    /// What the function comes to.
    type Output;
    /// The function at work.
    type Future: Future<Output = Self::Output>;

    /// Calls it.
    fn call(self, args: Args) -> Self::Future;
}

/// Calls a macro with each list of type parameters, from none to twelve.
macro_rules! each_arity {
    ($each:ident) => {
        $each!();
        $each!(A);
        $each!(A, B);
        $each!(A, B, C);
        $each!(A, B, C, D);
        $each!(A, B, C, D, E);
        $each!(A, B, C, D, E, F);
        $each!(A, B, C, D, E, F, G);
        $each!(A, B, C, D, E, F, G, H);
        $each!(A, B, C, D, E, F, G, H, I);
        $each!(A, B, C, D, E, F, G, H, I, J);
        $each!(A, B, C, D, E, F, G, H, I, J, K);
        $each!(A, B, C, D, E, F, G, H, I, J, K, L);
    };
}
pub(crate) use each_arity;

macro_rules! function {
    ($($arg:ident),*) => {
        #[diagnostic::do_not_recommend]
        #[allow(non_snake_case)]
        impl<Fun, Fut, $($arg),*> Function<($($arg,)*)> for Fun
        where
            Fun: FnOnce($($arg),*) -> Fut + Clone + Send + Sync + 'static,
            Fut: Future,
        {
            type Output = Fut::Output;
            type Future = Fut;

            fn call(self, ($($arg,)*): ($($arg,)*)) -> Fut {
                self($($arg),*)
            }
        }
    };
}
each_arity!(function);
