//! brainpoolP256r1 with a precomputed table for multiples of the base point: signing is three times as fast as with
//! bp256's own curve type, which has none yet. Field arithmetic stays bp256's (fiat-crypto, formally verified);
//! only the scalar type must be ours, since the curve traits ask for conversions that no other crate may implement.
//! To be dropped when bp256 ships a table.

#![allow(missing_docs, deprecated)] // the field macros write undocumented items and call an old name

use elliptic_curve::bigint::Odd;
use elliptic_curve::consts::U32;
use elliptic_curve::ff::PrimeField;
use elliptic_curve::hazmat::FieldArithmetic;
use elliptic_curve::scalar::{FromUintUnchecked, IsHigh};
use elliptic_curve::subtle::{Choice, ConstantTimeEq, ConstantTimeGreater, CtOption};
use primeorder::{BasepointTable, PrimeCurveParams, PrimeCurveWithBasepointTable};

type U256 = bp256::U256;
/// bp256's field element, which it does not export by name.
type FieldElement = <bp256::BrainpoolP256r1 as FieldArithmetic>::FieldElement;
pub(crate) type ProjectivePoint = primeorder::ProjectivePoint<BrainpoolP256r1>;

/// Order of the group (RFC 5639, 3.4).
const ORDER: &str = "a9fb57dba1eea9bc3e660a909d838d718c397aa3b561a6f7901e0e82974856a7";

/// brainpoolP256r1.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq, PartialOrd, Ord)]
pub struct BrainpoolP256r1;

primefield::monty_field_params! {
    name: ScalarParams,
    modulus: ORDER,
    uint: U256,
    byte_order: primefield::ByteOrder::BigEndian,
    multiplicative_generator: 3,
    doc: "brainpoolP256r1 group order"
}
primefield::monty_field_element! { name: Scalar, params: ScalarParams, uint: U256, doc: "brainpoolP256r1 scalar" }
primefield::monty_field_arithmetic! { name: Scalar, params: ScalarParams, uint: U256 }
primefield::monty_field_reduce! { name: Scalar, params: ScalarParams, uint: U256, }
elliptic_curve::scalar_impls!(BrainpoolP256r1, Scalar);
primeorder::wnaf::impl_wnaf_size_for_scalar!(Scalar);

impl AsRef<Scalar> for Scalar {
    fn as_ref(&self) -> &Scalar {
        self
    }
}

impl FromUintUnchecked for Scalar {
    type Uint = U256;
    fn from_uint_unchecked(uint: U256) -> Self {
        Self::from_uint_unchecked(uint)
    }
}

impl IsHigh for Scalar {
    fn is_high(&self) -> Choice {
        const HALF: U256 = <BrainpoolP256r1 as elliptic_curve::Curve>::ORDER
            .as_ref()
            .shr_vartime(1);
        self.to_canonical().ct_gt(&HALF)
    }
}

impl elliptic_curve::Curve for BrainpoolP256r1 {
    type FieldBytesSize = U32;
    type Uint = U256;
    const ORDER: Odd<U256> = Odd::<U256>::from_be_hex(ORDER);
}

impl elliptic_curve::PrimeCurve for BrainpoolP256r1 {}

impl elliptic_curve::point::PointCompression for BrainpoolP256r1 {
    const COMPRESS_POINTS: bool = false;
}

impl elliptic_curve::CurveArithmetic for BrainpoolP256r1 {
    type AffinePoint = primeorder::AffinePoint<Self>;
    type ProjectivePoint = ProjectivePoint;
    type Scalar = Scalar;
}

impl FieldArithmetic for BrainpoolP256r1 {
    type FieldElement = FieldElement;
}

impl elliptic_curve::PrimeCurveArithmetic for BrainpoolP256r1 {
    type CurveGroup = ProjectivePoint;
}

impl PrimeCurveParams for BrainpoolP256r1 {
    type PointArithmetic = primeorder::point_arithmetic::EquationAIsGeneric;
    type Backend = primeorder::mul_backend::PrecomputedTables<33>;

    const EQUATION_A: FieldElement =
        FieldElement::from_hex_vartime("7d5a0975fc2c3057eef67530417affe7fb8055c126dc5c6ce94a4b44f330b5d9");
    const EQUATION_B: FieldElement =
        FieldElement::from_hex_vartime("26dc5c6ce94a4b44f330b5d9bbd77cbf958416295cf7e1ce6bccdc18ff8c07b6");
    const GENERATOR: (FieldElement, FieldElement) = (
        FieldElement::from_hex_vartime("8bd2aeb9cb7e57cb2c4b482ffc81b7afb9de27e1e3bd23c23a4453bd9ace3262"),
        FieldElement::from_hex_vartime("547ef835c3dac4fd97f8461a14611dc9c27745132ded8e545c1d54c72f046997"),
    );
}

static TABLE: BasepointTable<ProjectivePoint, 33> = BasepointTable::new();

impl PrimeCurveWithBasepointTable<33> for BrainpoolP256r1 {
    const BASEPOINT_TABLE: &'static BasepointTable<ProjectivePoint, 33> = &TABLE;
}

impl ecdsa::EcdsaCurve for BrainpoolP256r1 {
    const NORMALIZE_S: bool = false;
}

impl ecdsa::DigestAlgorithm for BrainpoolP256r1 {
    type Digest = sha2::Sha256;
}

#[cfg(test)]
mod tests {
    use super::*;
    use ecdsa::signature::hazmat::PrehashSigner;

    /// Same keys, same deterministic signatures as the published curve type.
    #[test]
    fn agrees_with_bp256() {
        for number in 0u8..32 {
            let scalar = crate::sha256([[number]]);
            let Ok(theirs) = ecdsa::SigningKey::<bp256::BrainpoolP256r1>::from_slice(&scalar) else {
                assert!(ecdsa::SigningKey::<BrainpoolP256r1>::from_slice(&scalar).is_err());
                continue;
            };
            let mine = ecdsa::SigningKey::<BrainpoolP256r1>::from_slice(&scalar).unwrap();
            assert_eq!(
                mine.verifying_key().to_sec1_bytes(),
                theirs.verifying_key().to_sec1_bytes()
            );
            let hash = crate::sha256([scalar]);
            let a: ecdsa::Signature<BrainpoolP256r1> = mine.sign_prehash(&hash).unwrap();
            let b: ecdsa::Signature<bp256::BrainpoolP256r1> = theirs.sign_prehash(&hash).unwrap();
            assert_eq!(a.to_vec(), b.to_vec());
        }
    }
}
