for _, version in ipairs(ARG.versions) do
  retire_version(version)
end
bump_epoch()
return 1
