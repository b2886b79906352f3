import torch

from ctrloom.nn.fusion import BilinearFusion, FeatureGate


def test_zero_weight_gate_is_the_identity() -> None:
    emb_BFD = torch.randn(6, 4, 3, generator=torch.Generator().manual_seed(0))
    for context in ((), (1, 3)):
        gate = FeatureGate(4, 3, context, 5)
        assert not torch.equal(gate(emb_BFD), emb_BFD.flatten(1))
        with torch.no_grad():
            for parameter in gate.parameters():
                parameter.zero_()
        assert torch.equal(gate(emb_BFD), emb_BFD.flatten(1))


def test_gate_depends_only_on_its_context() -> None:
    emb_BFD = torch.rand(6, 4, 3, generator=torch.Generator().manual_seed(0)) + 0.5
    gate = FeatureGate(4, 3, (1,), 5)
    shares = (gate(emb_BFD) / emb_BFD.flatten(1)).view(6, 4, 3)
    for field, same in ((0, True), (1, False)):
        other_BFD = emb_BFD.clone()
        other_BFD[:, field] += 1
        others = (gate(other_BFD) / other_BFD.flatten(1)).view(6, 4, 3)
        assert torch.allclose(others, shares) is same


def test_fusion_head_uses_the_same_slice_of_both_streams() -> None:
    torch.manual_seed(0)
    first, second, fusion = torch.randn(6, 4), torch.randn(6, 8), BilinearFusion(4, 8, 2)
    assert fusion.weight_KHH.shape == (2, 2, 4)
    joined = BilinearFusion(4, 8, 1)
    with torch.no_grad():
        joined.weight_KHH.zero_()
        for k in range(2):
            joined.weight_KHH[0, 2 * k : 2 * k + 2, 4 * k : 4 * k + 4] = fusion.weight_KHH[k]
        for mine, theirs in ((joined.first, fusion.first), (joined.second, fusion.second)):
            mine.load_state_dict(theirs.state_dict())
    torch.testing.assert_close(fusion(first, second), joined(first, second))
