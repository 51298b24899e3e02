-- A forecast is made once, before the run acts, and never changed: else it could be made to have been right.
GRANT SELECT, INSERT ON forecasts TO somagent_app;
CREATE TRIGGER immutable BEFORE UPDATE OR DELETE ON forecasts FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER never_emptied BEFORE TRUNCATE ON forecasts EXECUTE FUNCTION refuse_change();
