"""A platform without a channel for notifications says so: the shared stack of the faults has none."""

from platforms import Platform

from somagent.cli.exit_codes import Code


async def test_without_a_channel_the_test_of_notifications_says_what_to_set(stack: Platform) -> None:
    ended = await stack.cli("notify", "test")
    assert ended.code == Code.CONFLICT, ended
    assert "SOMAGENT_NOTIFY_WEBHOOK_URL" in ended.err
    assert "No deliveries." in (await stack.cli("notify", "list")).out
