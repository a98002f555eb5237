use std::collections::BTreeMap;

use openledger_primitives::{Address, OpenAmount};

/// What answers under way may cost at most, per payer.
///
/// A balance on chain changes only when a receipt is settled. Until then what was promised is counted
/// here, so that ten requests at once cannot each spend the same OPEN.
#[derive(Debug, Default)]
pub(crate) struct Reservations {
    reserved: BTreeMap<Address, OpenAmount>,
}

impl Reservations {
    /// Reserves `amount` if what `payer` has (`spendable`), less what is reserved, covers it.
    /// Returns what is missing otherwise.
    pub(crate) fn reserve(
        &mut self,
        payer: Address,
        amount: OpenAmount,
        spendable: OpenAmount,
    ) -> Result<(), OpenAmount> {
        let reserved = self.reserved.get(&payer).copied().unwrap_or_default();
        let needed = reserved.checked_add(amount).ok_or(amount)?;
        if let Some(missing) = needed.checked_sub(spendable)
            && missing > OpenAmount::ZERO
        {
            return Err(missing);
        }
        self.reserved.insert(payer, needed);
        Ok(())
    }

    /// Gives a reservation back: the answer failed, or its receipt is kept and counts from now on.
    pub(crate) fn release(&mut self, payer: Address, amount: OpenAmount) {
        let left = self.reserved.get(&payer).and_then(|reserved| reserved.checked_sub(amount));
        match left {
            Some(left) if left > OpenAmount::ZERO => self.reserved.insert(payer, left),
            _ => self.reserved.remove(&payer),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAYER: Address = Address::repeat_byte(1);
    const fn wei(wei: u128) -> OpenAmount {
        OpenAmount::from_wei(wei)
    }

    #[test]
    fn one_balance_is_never_promised_twice() {
        let mut reservations = Reservations::default();
        assert_eq!(reservations.reserve(PAYER, wei(6), wei(10)), Ok(()));
        assert_eq!(reservations.reserve(PAYER, wei(6), wei(10)), Err(wei(2)));
        assert_eq!(reservations.reserve(Address::ZERO, wei(6), wei(10)), Ok(()));
        reservations.release(PAYER, wei(6));
        assert_eq!(reservations.reserve(PAYER, wei(10), wei(10)), Ok(()));
    }
}
