//! What a guest's tests find out about its kernel, beside passing (`tests/tests/kernel`).

use super::guest::Guest;

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// `program NAME INSTRUCTIONS`: how far the verifier walked to accept a program; 0 if the kernel does
    /// not tell (before 5.16).
    Program {
        /// Its name.
        name: String,
        /// Instructions.
        instructions: u64,
    },
    /// `cost NAME BEFORE NOW`: instructions that are not those of docs/kernels.md.
    Cost {
        /// The program's name.
        program: String,
        /// Instructions in docs/kernels.md.
        before: u64,
        /// Instructions here.
        now: u64,
    },
    /// `lost WORDS`: something that the agent cannot show on this kernel.
    Lost(String),
}

impl Fact {
    /// Reads a line.
    pub fn parse(line: &str) -> Option<Self> {
        match line.split_once(' ')? {
            ("program", rest) => {
                let (name, instructions) = rest.split_once(' ')?;
                Some(Self::Program { name: name.to_owned(), instructions: instructions.parse().ok()? })
            }
            ("cost", rest) => {
                let mut words = rest.split(' ');
                let program = words.next()?.to_owned();
                let (before, now) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
                Some(Self::Cost { program, before, now })
            }
            ("lost", words) => Some(Self::Lost(words.to_owned())),
            _ => None,
        }
    }
}

/// All of a guest's.
pub fn of(guest: &Guest) -> Vec<Fact> {
    guest.facts.iter().filter_map(|line| Fact::parse(line)).collect()
}

#[cfg(test)]
mod tests {
    use super::Fact;

    #[test]
    fn lines_are_read() {
        let program = Fact::Program { name: "retransmit".to_owned(), instructions: 7584 };
        assert_eq!(Fact::parse("program retransmit 7584"), Some(program));
        assert_eq!(Fact::parse("lost reasons of resets"), Some(Fact::Lost("reasons of resets".to_owned())));
        let cost = Fact::Cost { program: "retransmit".to_owned(), before: 7, now: 9 };
        assert_eq!(Fact::parse("cost retransmit 7 9"), Some(cost));
        assert_eq!(Fact::parse("program retransmit"), None);
    }
}
