def test_constant(make):
    assert [make("constant")(progress) for progress in (0.0, 0.3, 1.0)] == [1.0, 1.0, 1.0]
