-- Triggers that write an audit entry for each change of something that governs runs, also for a change by SQL.

-- Write the audit entry of a changed row. Arguments: the action; the paths of subject and actor in the row; the paths
-- of the details. A path is names and positions, joined by commas. Without an actor, the setting somagent.actor counts.
CREATE FUNCTION audit_row() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    changed jsonb := CASE TG_OP WHEN 'DELETE' THEN to_jsonb(old) ELSE to_jsonb(new) END;
    tenant text := coalesce(changed->>'tenant_id', nullif(current_setting('somagent.tenant', true), ''));
    moment timestamptz := clock_timestamp();
    subject text := coalesce(changed #>> string_to_array(TG_ARGV[1], ','), '');
    actor text := coalesce(changed #>> string_to_array(TG_ARGV[2], ','),
                           nullif(current_setting('somagent.actor', true), ''), session_user);
    details jsonb := '{}';
    body text;
BEGIN
    IF tenant IS NULL THEN
        RETURN NULL;  -- an installation's first constitution, before it has a tenant: its own table says who and when
    END IF;
    FOR position IN 3 .. TG_NARGS - 1 LOOP
        details := details || jsonb_build_object(
            regexp_replace(TG_ARGV[position], '^.*,', ''),
            canonical_text(changed #>> string_to_array(TG_ARGV[position], ',')));
    END LOOP;
    body := canonical_object(jsonb_build_object(
        'action', canonical_text(TG_ARGV[0]), 'actor', canonical_text(actor), 'at', canonical_time(moment),
        'details', canonical_object(details), 'subject', canonical_text(subject)));
    INSERT INTO audit_entries (tenant_id, at, actor, action, subject, body, hash)
    VALUES (tenant, moment, actor, TG_ARGV[0], subject, body::json, digest_text(body));
    RETURN NULL;
END $$;

-- Write an audit entry of a change that is in no table. details: canonical JSON.
CREATE FUNCTION audit_add(who text, done text, about text, details text) RETURNS void
LANGUAGE plpgsql SECURITY INVOKER AS $$
DECLARE
    moment timestamptz := clock_timestamp();
    body text := canonical_object(jsonb_build_object(
        'action', canonical_text(done), 'actor', canonical_text(who), 'at', canonical_time(moment), 'details', details,
        'subject', canonical_text(about)));
BEGIN
    INSERT INTO audit_entries (tenant_id, at, actor, action, subject, body, hash)
    VALUES (current_setting('somagent.tenant'), moment, who, done, about, body::json, digest_text(body));
END $$;

CREATE TRIGGER audited AFTER INSERT ON capsules FOR EACH ROW
EXECUTE FUNCTION audit_row('capsule.published', 'name', 'published_by', 'version', 'digest', 'key_id');

CREATE TRIGGER audited AFTER INSERT ON principals FOR EACH ROW
EXECUTE FUNCTION audit_row('principal.set', 'subject', '-', 'capabilities', 'version');
CREATE TRIGGER audited_change AFTER UPDATE ON principals FOR EACH ROW
WHEN (old.capabilities IS DISTINCT FROM new.capabilities)
EXECUTE FUNCTION audit_row('principal.set', 'subject', '-', 'capabilities', 'version');
CREATE TRIGGER audited_pause AFTER UPDATE ON principals FOR EACH ROW
WHEN (old.state <> new.state AND new.state = 'suspended')
EXECUTE FUNCTION audit_row('principal.suspended', 'subject', '-', 'version');
CREATE TRIGGER audited_return AFTER UPDATE ON principals FOR EACH ROW
WHEN (old.state <> new.state AND new.state = 'active')
EXECUTE FUNCTION audit_row('principal.resumed', 'subject', '-', 'version');
CREATE TRIGGER audited_end AFTER UPDATE ON principals FOR EACH ROW
WHEN (old.state <> new.state AND new.state = 'revoked')
EXECUTE FUNCTION audit_row('principal.revoked', 'subject', '-', 'version');
CREATE TRIGGER audited_pause AFTER UPDATE ON tenants FOR EACH ROW
WHEN (old.state <> new.state AND new.state = 'suspended')
EXECUTE FUNCTION audit_row('tenant.suspended', 'id', '-', 'version');
CREATE TRIGGER audited_return AFTER UPDATE ON tenants FOR EACH ROW
WHEN (old.state <> new.state AND new.state = 'active')
EXECUTE FUNCTION audit_row('tenant.resumed', 'id', '-', 'version');
CREATE TRIGGER audited_end AFTER UPDATE ON tenants FOR EACH ROW
WHEN (old.state <> new.state AND new.state = 'revoked')
EXECUTE FUNCTION audit_row('tenant.revoked', 'id', '-', 'version');
CREATE TRIGGER audited_key AFTER INSERT ON api_keys FOR EACH ROW
EXECUTE FUNCTION audit_row('key.added', 'subject', '-', 'id', 'capabilities', 'expires_at', 'confirmation');
CREATE TRIGGER audited_limit AFTER UPDATE ON api_keys FOR EACH ROW
WHEN (old.expires_at IS DISTINCT FROM new.expires_at)
EXECUTE FUNCTION audit_row('key.ends', 'subject', '-', 'id', 'expires_at', 'reason');
CREATE TRIGGER audited_end AFTER UPDATE ON api_keys FOR EACH ROW
WHEN (old.revoked_at IS DISTINCT FROM new.revoked_at)
EXECUTE FUNCTION audit_row('key.revoked', 'subject', 'revoked_by', 'id', 'revoked_at', 'reason');
CREATE TRIGGER audited AFTER INSERT ON token_families FOR EACH ROW
EXECUTE FUNCTION audit_row('token.opened', 'subject', '-', 'id', 'client', 'capabilities', 'parent', 'api_key',
                           'confirmation', 'expires_at');
CREATE TRIGGER audited_end AFTER UPDATE ON token_families FOR EACH ROW
WHEN (old.revoked_at IS DISTINCT FROM new.revoked_at)
EXECUTE FUNCTION audit_row('token.revoked', 'subject', 'revoked_by', 'id', 'generation', 'reason');

CREATE TRIGGER audited_answer AFTER UPDATE ON approvals FOR EACH ROW
WHEN (old.answers IS DISTINCT FROM new.answers)
EXECUTE FUNCTION audit_row('approval.answered', 'id', 'answers,-1,by', 'run', 'action', 'kind', 'target', 'state',
                           'answers,-1,said', 'answers,-1,on_behalf_of', 'answers,-1,comment', 'answers,-1,attestation');
CREATE TRIGGER audited_escalation AFTER UPDATE ON approvals FOR EACH ROW
WHEN (old.escalated IS DISTINCT FROM new.escalated)
EXECUTE FUNCTION audit_row('approval.escalated', 'id', '-', 'run', 'escalated');

CREATE TRIGGER audited AFTER INSERT ON standing_grants FOR EACH ROW
EXECUTE FUNCTION audit_row('grant.given', 'id', 'granted_by', 'scope', 'capability', 'reason', 'constitution', 'uses',
                           'expires_at', 'attestation');
CREATE TRIGGER audited_end AFTER UPDATE ON standing_grants FOR EACH ROW
WHEN (old.revoked_at IS DISTINCT FROM new.revoked_at)
EXECUTE FUNCTION audit_row('grant.revoked', 'id', 'revoked_by', 'revoked_at', 'revocation');

CREATE TRIGGER audited_proof AFTER UPDATE ON standing_grants FOR EACH ROW
WHEN ((old.constitution, old.attestation) IS DISTINCT FROM (new.constitution, new.attestation))
EXECUTE FUNCTION audit_row('grant.proved', 'id', '-', 'constitution', 'attestation');

CREATE TRIGGER audited AFTER INSERT ON delegations FOR EACH ROW
EXECUTE FUNCTION audit_row('delegation.given', 'id', 'delegator', 'delegate', 'capability', 'reason', 'starts_at',
                           'ends_at', 'attestation');
CREATE TRIGGER audited_end AFTER UPDATE ON delegations FOR EACH ROW
WHEN (old.revoked_at IS DISTINCT FROM new.revoked_at)
EXECUTE FUNCTION audit_row('delegation.revoked', 'id', 'revoked_by', 'revoked_at', 'revocation');

CREATE TRIGGER audited AFTER INSERT ON ledger_entries FOR EACH ROW WHEN (new.kind = 'open')
EXECUTE FUNCTION audit_row('budget.opened', 'account', 'by', 'limit_tokens', 'limit_micro_usd', 'limit_tool_calls');
CREATE TRIGGER audited_raise AFTER INSERT ON ledger_entries FOR EACH ROW WHEN (new.kind = 'raise')
EXECUTE FUNCTION audit_row('budget.raised', 'account', 'by', 'key', 'limit_tokens', 'limit_micro_usd',
                           'limit_tool_calls');

CREATE TRIGGER audited_terms AFTER UPDATE ON budget_accounts FOR EACH ROW
WHEN ((old.period, old.allowance_tokens, old.allowance_micro_usd, old.allowance_tool_calls, old.limit_seconds,
       old.rate_tokens, old.rate_calls) IS DISTINCT FROM (new.period, new.allowance_tokens, new.allowance_micro_usd,
       new.allowance_tool_calls, new.limit_seconds, new.rate_tokens, new.rate_calls)
      AND new.id NOT LIKE 'run:%')
EXECUTE FUNCTION audit_row('budget.allowed', 'id', '-', 'period', 'allowance_tokens', 'allowance_micro_usd',
                           'allowance_tool_calls', 'limit_seconds', 'rate_tokens', 'rate_calls');
CREATE TRIGGER audited_end AFTER UPDATE ON budget_accounts FOR EACH ROW
WHEN (old.closed_at IS DISTINCT FROM new.closed_at AND new.id LIKE 'project:%')
EXECUTE FUNCTION audit_row('budget.closed', 'id', '-', 'spent_tokens', 'spent_micro_usd', 'spent_tool_calls');
CREATE TRIGGER audited_credit AFTER INSERT ON ledger_entries FOR EACH ROW WHEN (new.kind = 'credit')
EXECUTE FUNCTION audit_row('budget.credited', 'account', 'by', 'key', 'limit_tokens', 'limit_micro_usd',
                           'limit_tool_calls');
CREATE TRIGGER audited_period AFTER INSERT ON ledger_entries FOR EACH ROW WHEN (new.kind = 'period')
EXECUTE FUNCTION audit_row('budget.period', 'account', 'by', 'key', 'limit_tokens', 'limit_micro_usd',
                           'limit_tool_calls');

CREATE TRIGGER audited AFTER INSERT ON constitution_proposals FOR EACH ROW
EXECUTE FUNCTION audit_row('constitution.proposed', 'id', 'proposed_by', 'digest', 'scope', 'stage', 'reason', 'change',
                           'attestation');
CREATE TRIGGER audited_yes AFTER UPDATE ON constitution_proposals FOR EACH ROW
WHEN (old.approved_by IS DISTINCT FROM new.approved_by)
EXECUTE FUNCTION audit_row('constitution.approved', 'id', 'approved_by,-1', 'digest', 'scope', 'stage', 'vote');
CREATE TRIGGER audited_no AFTER UPDATE ON constitution_proposals FOR EACH ROW
WHEN (old.rejected_by IS DISTINCT FROM new.rejected_by)
EXECUTE FUNCTION audit_row('constitution.rejected', 'id', 'rejected_by', 'digest', 'scope', 'stage', 'vote');
CREATE TRIGGER audited AFTER INSERT ON constitution_activations FOR EACH ROW
EXECUTE FUNCTION audit_row('constitution.activated', 'scope', 'by', 'digest', 'stage', 'reason', 'proposal');
CREATE TRIGGER audited AFTER INSERT ON constitution_signatures FOR EACH ROW
EXECUTE FUNCTION audit_row('constitution.signed', 'digest', 'key_id');
CREATE TRIGGER audited_end AFTER UPDATE ON constitutions FOR EACH ROW
WHEN (old.state IS DISTINCT FROM new.state)
EXECUTE FUNCTION audit_row('constitution.changed', 'digest', '-', 'name', 'version', 'state', 'revocation');
