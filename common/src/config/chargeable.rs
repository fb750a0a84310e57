//! Which amounts the payment provider charges.

use super::Env;
use crate::{
    error::{Error, Result},
    types::money::Paise,
};

/// The amounts that a buyer can pay at once.
#[derive(Clone, Copy, Debug)]
pub struct Chargeable {
    /// The maximum. The minimum is a rupee, for every account at Razorpay.
    pub most: Paise,
}

impl Chargeable {
    /// RAZORPAY_MAX_PAISE: the maximum that Razorpay takes at once for an account, five lakh rupees
    /// unless it has agreed to another.
    pub fn from_env(env: &mut Env) -> Self {
        let least = Chargeable::LEAST.get() as u64;
        let most = env.between("RAZORPAY_MAX_PAISE", 50_000_000, least, Paise::MAX.get() as u64);
        Chargeable { most: Paise::nearest(most as i64) }
    }

    /// The minimum that Razorpay charges or refunds.
    pub const LEAST: Paise = Paise::RUPEE;

    /// Refuses a price that no buyer could pay.
    pub fn check_price(self, price: Paise) -> Result<()> {
        if self.can_be_due(price) {
            return Ok(());
        }
        Err(Error::PriceNotPayable { least: Self::LEAST, most: self.most })
    }

    /// Refuses a booking that could not be paid.
    pub fn check_total(self, total: Paise) -> Result<()> {
        if self.can_be_due(total) {
            return Ok(());
        }
        Err(Error::TotalNotPayable { total, least: Self::LEAST, most: self.most })
    }

    fn can_be_due(self, amount: Paise) -> bool {
        amount == Paise::ZERO || (Self::LEAST..=self.most).contains(&amount)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_on_sale_that_cannot_be_paid() {
        let chargeable = Chargeable { most: Paise::nearest(50_000_000) };
        for paise in [0, 100, 50_000_000] {
            assert!(
                chargeable.check_price(Paise::nearest(paise)).is_ok()
                    && chargeable.check_total(Paise::nearest(paise)).is_ok()
            );
        }
        for paise in [1, 99, 50_000_001] {
            assert!(
                chargeable.check_price(Paise::nearest(paise)).is_err()
                    && chargeable.check_total(Paise::nearest(paise)).is_err()
            );
        }
    }
}
