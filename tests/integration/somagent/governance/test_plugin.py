"""What an activity returns comes back as it returned it, also when it is read from the record instead of done again."""

from capsules.budgets.amounts import Amounts


async def test_a_retry_gets_the_recorded_result_in_its_declared_type(shop, order, governed, tmp_path):
    answers = tmp_path / "answers"
    async with governed(answers=answers) as lossy:
        bought = order()
        number, cents = bought["id"], bought["total_cents"]
        receipt, run = await lossy.call("charge_card", bought, "4111")
        assert receipt == {"order": number, "charge": f"ch-{number}", "cents": cents}
        assert [line["what"] for line in lossy.book(number)] == ["charged"], "it was charged once"
        assert await lossy.decisions(run) == ["allow", "outcome", "allow"]
        await lossy.call("book_parcel", number, bought["address"])
        answer, _ = await lossy.call("weigh", number)
        assert answer == b"\x00\xff"
        given = [
            f"Receipt(order={number!r}, charge='ch-{number}', cents={cents})",
            f"Parcel(order={number!r}, tracking='tr-{number}', city='Turin')",
            repr(b"\x00\xff"),
        ]
        assert answers.read_text("utf-8").splitlines() == [each for each in given for _ in range(2)]


async def test_what_is_reported_counts_and_otherwise_the_upper_bound(shop, order):
    bought = order()
    _, run = await shop.call("charge_card", bought, "4111")
    assert (await shop.account(f"run:{run}")).spent == Amounts(tool_calls=1, micro_usd=bought["total_cents"] * 10_000)
    _, run = await shop.call("reserve_stock", bought["lines"][0], bought["id"])
    assert (await shop.account(f"run:{run}")).spent == Amounts(tool_calls=1)


async def test_a_failed_body_pays_for_what_it_reported(shop, order):
    answer, run = await shop.call("decline", order()["id"])
    assert (answer["refused"], answer["why"]) == ("Declined", "the bank says no")
    spent = (await shop.account(f"run:{run}")).spent
    assert spent == Amounts(micro_usd=3 * 70), "three attempts, each reported before it failed"
    assert await shop.decisions(run) == ["allow", "outcome"] * 3


async def test_what_an_activity_keeps_in_its_heartbeats_is_its_own(shop, order):
    answer, run = await shop.call("ship_slowly", order()["id"])
    assert answer == ["half", "way"]
    assert await shop.decisions(run) == ["allow", "outcome"] * 2


async def test_payloads_are_encrypted_when_the_application_wants_it(shop, order, governed):
    async with governed(encrypt=True) as sealed:
        bought = order()
        handle = await sealed.call_later("charge_card", bought, "4111 1111", how="fails fast")
        assert (await handle.result())["charge"] == f"ch-{bought['id']}"
        history = str(await handle.fetch_history())
        assert bought["id"] not in history.replace(handle.id, "")


async def test_a_worker_can_have_the_plugin_without_its_client(shop, governed):
    async with governed(plugin="worker") as served:
        answer, run = await served.call("count_shelf", 3)
        assert answer == 30
        assert await served.decisions(run) == ["allow", "outcome"]


async def test_the_plugin_given_to_client_and_worker_is_one_gate(shop, order, governed):
    async with governed(plugin="both") as doubled:
        assert "same plugin type" in " ".join(doubled.warned)
        _, run = await doubled.call("charge_card", order(), "4111")
        assert await doubled.decisions(run) == ["allow", "outcome"]
