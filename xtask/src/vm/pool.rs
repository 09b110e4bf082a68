//! The same work for many things, a few at a time.

use std::num::NonZero;
use std::sync::Mutex;
use std::thread;

/// What `work` makes of each item, in their order.
pub fn map<T: Send, R: Send>(items: Vec<T>, jobs: NonZero<usize>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    let items = Mutex::new(items.into_iter().enumerate());
    let results = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..jobs.get() {
            scope.spawn(|| {
                while let Some((index, item)) = next(&items) {
                    let result = work(item);
                    results.lock().expect("no worker panicked").push((index, result));
                }
            });
        }
    });
    let mut results = results.into_inner().expect("no worker panicked");
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

/// The lock is held for no longer than this.
fn next<I: Iterator>(items: &Mutex<I>) -> Option<I::Item> {
    items.lock().expect("no worker panicked").next()
}

#[cfg(test)]
mod tests {
    use std::num::NonZero;

    #[test]
    fn results_keep_the_order() {
        let jobs = NonZero::new(3).unwrap();
        let squares = super::map((0..20).collect(), jobs, |number: usize| number * number);
        assert_eq!(squares, (0..20).map(|number| number * number).collect::<Vec<_>>());
    }
}
