-- owner: base

-- The server works as this role, which may not change or delete what is append-only (see the revokes beside those tables). Migrations run as another one.
-- Roles belong to the whole cluster, so another database of it may have made the role already, perhaps at this very moment.
do $$
begin
    create role sewa_app nologin;
exception
    when duplicate_object or unique_violation then null;
end
$$;
do $$
begin
    execute format('grant sewa_app to %I', current_user);
exception
    -- Another session grants the same membership right now, or a superuser needs none.
    when others then null;
end
$$;
grant usage on schema public to sewa_app;
alter default privileges in schema public grant select, insert, update, delete on tables to sewa_app;
alter default privileges in schema public grant usage, select on sequences to sewa_app;

-- The server looks whether every migration it knows was applied. The table is the migrator's own and older than the default privileges above.
do $$
begin
    if to_regclass('_sqlx_migrations') is not null then
        grant select on _sqlx_migrations to sewa_app;
    end if;
end
$$;
