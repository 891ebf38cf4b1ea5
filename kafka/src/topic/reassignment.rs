//! A partition on its way to other brokers (KIP-455). Pure.

/// What is under way for one partition. Until it has ended, the cluster's metadata names the brokers of before and of after together.
#[non_exhaustive]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OngoingReassignment {
    /// All brokers that hold the partition, or are about to, preferred leader first.
    pub replicas: Vec<i32>,
    /// Those of them that it is copied to; it ends once they are in sync.
    pub adding: Vec<i32>,
    /// Those of them that give it up in the end.
    pub removing: Vec<i32>,
}

impl OngoingReassignment {
    /// One under way, to try code with.
    pub fn new(replicas: &[i32], adding: &[i32], removing: &[i32]) -> Self {
        Self { replicas: replicas.to_vec(), adding: adding.to_vec(), removing: removing.to_vec() }
    }

    /// The brokers that hold the partition once it has ended.
    pub fn target(&self) -> Vec<i32> {
        self.replicas.iter().copied().filter(|broker| !self.removing.contains(broker)).collect()
    }

    /// The brokers that held the partition before it began, and hold it again should it be cancelled.
    pub fn held(&self) -> Vec<i32> {
        self.replicas.iter().copied().filter(|broker| !self.adding.contains(broker)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn before_and_after() {
        for (replicas, adding, removing, held, target) in [
            (&[1, 2, 3][..], &[2, 3][..], &[][..], &[1][..], &[1, 2, 3][..]),
            (&[1, 2, 3], &[], &[3], &[1, 2, 3], &[1, 2]),
            (&[4, 1, 2], &[4], &[1], &[1, 2], &[4, 2]),
        ] {
            let ongoing = OngoingReassignment::new(replicas, adding, removing);
            assert_eq!((ongoing.held(), ongoing.target()), (held.to_vec(), target.to_vec()));
        }
    }
}
